#include "files.h"

#include "../common/folder.h"
#include "../common/part.h"
#include "png.h"
#include "ppm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a file: the greatest picture with nothing packed, and as much again of other chunks. */
static const off_t MOST = (off_t)PICTURE_MAX_PIXELS * 8;

static bool read_all(int fd, const char *path, uint8_t *data, size_t *size, struct fault *fault) {
    size_t got = 0;
    while (got < *size) {
        ssize_t count = read(fd, data + got, *size - got);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return fault_errno(fault, "read", path);
        }
        if (count == 0) {
            break; /* somebody made it shorter meanwhile */
        }
        got += (size_t)count;
    }
    *size = got;
    return true;
}

static bool read_open(int fd, const char *path, uint8_t **data, size_t *size,
                      struct fault *fault) {
    struct stat about;
    if (fstat(fd, &about) != 0) {
        return fault_errno(fault, "look at", path);
    }
    if (about.st_size > MOST) {
        return fault_set(fault, FAULT_INPUT, "%.200s has %lld bytes; the limit is %lld",
                         folder_base(path), (long long)about.st_size, (long long)MOST);
    }
    *size = (size_t)about.st_size;
    *data = malloc(*size + 1);
    return *data != NULL ? read_all(fd, path, *data, size, fault) : fault_memory(fault, *size);
}

static bool read_file(const char *path, uint8_t **data, size_t *size, struct fault *fault) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fault_errno(fault, "open", path);
    }
    bool is_read = read_open(fd, path, data, size, fault);
    (void)close(fd);
    return is_read;
}

bool picture_decode(const uint8_t *data, size_t size, struct picture *picture,
                    enum picture_format *format, struct fault *fault) {
    if (png_is_one(data, size)) {
        *format = PICTURE_PNG;
        return png_read(data, size, picture, fault);
    }
    if (ppm_is_one(data, size)) {
        *format = PICTURE_PPM;
        return ppm_read(data, size, picture, fault);
    }
    return fault_set(fault, FAULT_INPUT,
                     "the file is no picture of a known format (PNG; PPM or PGM of bytes)");
}

bool picture_load(const char *path, struct picture *picture, enum picture_format *format,
                  struct fault *fault) {
    uint8_t *data = NULL;
    size_t size = 0;
    bool is_done = read_file(path, &data, &size, fault) &&
                   picture_decode(data, size, picture, format, fault);
    free(data);
    return is_done;
}

bool picture_format_of(const char *name, enum picture_format *format) {
    const char *dot = strrchr(folder_base(name), '.');
    if (dot == NULL) {
        return false;
    }
    *format = strcasecmp(dot, ".png") == 0 ? PICTURE_PNG : PICTURE_PPM;
    return *format == PICTURE_PNG || strcasecmp(dot, ".ppm") == 0 || strcasecmp(dot, ".pgm") == 0;
}

const char *picture_format_name(enum picture_format format) {
    return format == PICTURE_PNG ? "png" : "ppm";
}

const char *picture_suffix(enum picture_format format) {
    return format == PICTURE_PNG ? ".png" : ".ppm";
}

static bool write_ppm(struct part *part, const struct picture *picture, struct fault *fault) {
    char header[64];
    return part_write(part, header, ppm_header(picture, header), fault) &&
           part_write(part, picture->pixels, picture_bytes(picture), fault);
}

static bool write_png(struct part *part, const struct picture *picture, struct fault *fault) {
    uint8_t *data = NULL;
    size_t size = 0;
    bool is_done =
        png_write(picture, &data, &size, fault) && part_write(part, data, size, fault);
    free(data);
    return is_done;
}

bool picture_save(const struct picture *picture, enum picture_format format, const char *path,
                  struct fault *fault) {
    struct part part;
    if (!part_begin(&part, path, fault)) {
        return false;
    }
    bool is_done = (format == PICTURE_PNG ? write_png(&part, picture, fault)
                                          : write_ppm(&part, picture, fault)) &&
                   part_publish(&part, fault);
    part_end(&part);
    return is_done;
}

bool picture_digest(const struct picture *picture, char hex[DIGEST_HEX], struct fault *fault) {
    return digest_of(picture->pixels, picture_bytes(picture), hex, fault);
}
