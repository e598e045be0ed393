/* Time and chance, from one place. */
#ifndef STOKER_CLOCK_H
#define STOKER_CLOCK_H

enum { ID_SIZE = 37, NONCE_SIZE = 33 };

double now_monotonic(void); /* seconds that only rise; the same in all processes of a machine */
double now_wall(void);      /* seconds since 1970 */
double random_share(void);  /* at least 0, less than 1 */
/* 128 random bits: a UUID (version 7, so with the time in front), a nonce of 32 digits. */
void new_id(char out[ID_SIZE]);
void new_nonce(char out[NONCE_SIZE]);

#endif
