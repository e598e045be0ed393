#include "png.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t SIGNATURE[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

struct chunk {
    const uint8_t *body;
    uint32_t length;
    char type[5];
};

/* Where in the file the reader is, and what it has seen. */
struct reader {
    const uint8_t *data;
    size_t size, at;
    bool has_header, has_data, is_data_over;
};

static uint32_t big(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool damaged(struct fault *fault, const char *why) {
    return fault_set(fault, FAULT_INPUT, "the PNG file is damaged: %s", why);
}

bool png_is_one(const uint8_t *data, size_t size) {
    return size >= sizeof SIGNATURE && memcmp(data, SIGNATURE, sizeof SIGNATURE) == 0;
}

static bool is_letter(char byte) {
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

static bool next_chunk(struct reader *reader, struct chunk *chunk, struct fault *fault) {
    if (reader->size - reader->at < 12) {
        return damaged(fault, "it ends in the middle");
    }
    const uint8_t *start = reader->data + reader->at;
    chunk->length = big(start);
    memcpy(chunk->type, start + 4, 4);
    chunk->type[4] = '\0';
    chunk->body = start + 8;
    if (chunk->length > INT32_MAX || chunk->length > reader->size - reader->at - 12) {
        return damaged(fault, "a chunk is longer than the file");
    }
    for (int i = 0; i < 4; i++) {
        if (!is_letter(chunk->type[i])) {
            return damaged(fault, "a chunk has no name");
        }
    }
    if (libdeflate_crc32(0, start + 4, chunk->length + 4) != big(chunk->body + chunk->length)) {
        return damaged(fault, "the checksum of a chunk is wrong");
    }
    reader->at += (size_t)chunk->length + 12;
    return true;
}

static bool is_known_format(const struct png *png) {
    switch (png->colour) {
    case 0: return png->depth == 1 || png->depth == 2 || png->depth == 4 || png->depth == 8;
    case 3: return png->depth == 1 || png->depth == 2 || png->depth == 4 || png->depth == 8;
    case 2:
    case 4:
    case 6: return png->depth == 8;
    default: return false;
    }
}

static bool read_header(struct png *png, const struct chunk *chunk, struct fault *fault) {
    size_t bytes = 0;
    const uint8_t *body = chunk->body;
    if (chunk->length != 13) {
        return damaged(fault, "its header has the wrong length");
    }
    png->width = big(body);
    png->height = big(body + 4);
    png->depth = body[8];
    png->colour = body[9];
    png->is_interlaced = body[12] == 1;
    if (body[10] != 0 || body[11] != 0 || body[12] > 1) {
        return damaged(fault, "its header names a method that does not exist");
    }
    if (png->depth == 16 && png->colour <= 6 && png->colour != 1 && png->colour != 5 &&
        png->colour != 3) {
        return fault_set(fault, FAULT_INPUT,
                         "the PNG file has 16 bits a channel; expected 8 or fewer");
    }
    if (!is_known_format(png)) {
        return damaged(fault, "its header names colours that do not exist");
    }
    return picture_size(png->width, png->height, 4, "the PNG file has", &bytes, fault);
}

static bool read_palette(struct png *png, const struct chunk *chunk, struct fault *fault) {
    unsigned most = png->colour == 3 ? 1u << png->depth : 256u;
    if (png->palette_size > 0 || png->has_transparency || png->colour == 0 || png->colour == 4 ||
        chunk->length == 0 || chunk->length % 3 != 0 || chunk->length / 3 > most) {
        return damaged(fault, "its palette is out of place or of the wrong size");
    }
    png->palette_size = chunk->length / 3;
    memcpy(png->palette, chunk->body, chunk->length);
    return true;
}

static bool read_transparency(struct png *png, const struct chunk *chunk, struct fault *fault) {
    bool is_right = png->colour == 0   ? chunk->length == 2
                    : png->colour == 2 ? chunk->length == 6
                    : png->colour == 3 ? chunk->length >= 1 && chunk->length <= png->palette_size
                                       : false;
    if (png->has_transparency || !is_right) {
        return damaged(fault, "its transparency is out of place or of the wrong size");
    }
    png->has_transparency = true;
    png->transparency_size = chunk->length;
    memcpy(png->transparency, chunk->body, chunk->length);
    return true;
}

static bool read_data(struct png *png, struct reader *reader, const struct chunk *chunk,
                      struct fault *fault) {
    if (reader->is_data_over || (png->colour == 3 && png->palette_size == 0)) {
        return damaged(fault, "its pixels are out of place");
    }
    if (chunk->length > 0) { /* there is room: all IDAT together are shorter than the file */
        memcpy(png->packed + png->packed_size, chunk->body, chunk->length);
    }
    png->packed_size += chunk->length;
    reader->has_data = true;
    return true;
}

static bool take_other(struct png *png, struct reader *reader, const struct chunk *chunk,
                       struct fault *fault) {
    bool is_palette = strcmp(chunk->type, "PLTE") == 0, is_alpha = strcmp(chunk->type, "tRNS") == 0;
    if ((is_palette || is_alpha) && reader->has_data) {
        return damaged(fault, "its palette follows its pixels");
    }
    reader->is_data_over = reader->has_data;
    if (is_palette) {
        return read_palette(png, chunk, fault);
    }
    if (is_alpha) {
        return read_transparency(png, chunk, fault);
    }
    if (chunk->type[0] >= 'A' && chunk->type[0] <= 'Z') {
        return damaged(fault, "it has a chunk that nobody knows and everybody must");
    }
    return true;
}

static bool take(struct png *png, struct reader *reader, const struct chunk *chunk,
                 struct fault *fault) {
    bool is_header = strcmp(chunk->type, "IHDR") == 0;
    if (is_header == reader->has_header) {
        return damaged(fault, "its header is missing or there twice");
    }
    if (is_header) {
        reader->has_header = true;
        return read_header(png, chunk, fault);
    }
    return strcmp(chunk->type, "IDAT") == 0 ? read_data(png, reader, chunk, fault)
                                            : take_other(png, reader, chunk, fault);
}

bool png_parse(const uint8_t *data, size_t size, struct png *png, struct fault *fault) {
    struct reader reader = {.data = data, .size = size, .at = sizeof SIGNATURE};
    struct chunk chunk = {0};
    if (!png_is_one(data, size)) {
        return fault_set(fault, FAULT_INPUT, "the file is no PNG file");
    }
    png->packed = malloc(size);
    if (png->packed == NULL) {
        return fault_memory(fault, size);
    }
    for (;;) {
        if (!next_chunk(&reader, &chunk, fault)) {
            return false;
        }
        if (strcmp(chunk.type, "IEND") == 0 && reader.has_data) {
            return true;
        }
        if (!take(png, &reader, &chunk, fault)) {
            return false;
        }
    }
}

void png_drop(struct png *png) {
    free(png->packed);
    png->packed = NULL;
}

unsigned png_samples(const struct png *png) {
    static const unsigned SAMPLES[] = {1, 0, 3, 1, 2, 0, 4};
    return SAMPLES[png->colour];
}

unsigned png_channels(const struct png *png) {
    unsigned plain = png->colour == 3 ? 3 : png_samples(png);
    return plain + (png->has_transparency ? 1 : 0);
}

size_t png_stride(const struct png *png, size_t width) {
    return (width * png_samples(png) * png->depth + 7) / 8;
}
