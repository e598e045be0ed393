#include "../include/stoker_worker.h"

int main(int argc, char **argv)
{
    return stoker_worker_main(argc, argv, NULL);
}
