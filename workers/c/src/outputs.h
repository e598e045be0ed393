/* `{"$output": "JOB ID"}` in a payload stands for the result of that parent. */
#ifndef STOKER_OUTPUTS_H
#define STOKER_OUTPUTS_H

#include <stdbool.h>

#include "answers.h"

/* Put the results of the parents into the payload; everything else keeps its bytes. False if there
   is no memory for it. */
bool fill_outputs(lease *l);

#endif
