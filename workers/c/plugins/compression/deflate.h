/* gzip and zlib streams, many members one after the other, in bounded memory. */
#ifndef STOKER_PLUGINS_DEFLATE_H
#define STOKER_PLUGINS_DEFLATE_H

#include "../common/flow.h"

enum deflate_kind { DEFLATE_UNKNOWN, DEFLATE_GZIP, DEFLATE_ZLIB };

struct deflating {
    enum deflate_kind kind;
    int level;
};
bool deflate_all(void *deflating, struct flow *flow);

struct inflating {
    enum deflate_kind kind; /* unknown: the first bytes tell, and it is set */
    uint64_t most;          /* of output */
};
bool inflate_all(void *inflating, struct flow *flow);

enum deflate_kind deflate_recognised(const unsigned char *first, size_t size);

#endif
