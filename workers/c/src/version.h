#ifndef STOKER_VERSION_H
#define STOKER_VERSION_H

#define STOKER_VERSION "0.1.0"

#endif
