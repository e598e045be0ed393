#include "ppm.h"

#include <stdio.h>
#include <string.h>

struct text {
    const uint8_t *data;
    size_t size, at;
};

static bool damaged(struct fault *fault, const char *why) {
    return fault_set(fault, FAULT_INPUT, "the PPM file is damaged: %s", why);
}

bool ppm_is_one(const uint8_t *data, size_t size) {
    return size >= 2 && data[0] == 'P' && (data[1] == '5' || data[1] == '6');
}

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Blanks and comments, at least one byte of them. */
static bool skip_blanks(struct text *text) {
    size_t start = text->at;
    while (text->at < text->size) {
        uint8_t byte = text->data[text->at];
        if (byte == '#') {
            while (text->at < text->size && text->data[text->at] != '\n') {
                text->at++;
            }
        } else if (is_space(byte)) {
            text->at++;
        } else {
            break;
        }
    }
    return text->at > start;
}

/* A number of at most nine digits: larger ones are refused before they could overflow. */
static bool read_number(struct text *text, uint32_t *value, struct fault *fault) {
    size_t digits = 0;
    if (!skip_blanks(text)) {
        return damaged(fault, "its header is cut off or wrong");
    }
    for (*value = 0; text->at < text->size && digits < 10; digits++, text->at++) {
        uint8_t byte = text->data[text->at];
        if (byte < '0' || byte > '9') {
            break;
        }
        *value = *value * 10 + (byte - '0');
    }
    return (digits > 0 && digits < 10) || damaged(fault, "its header is cut off or wrong");
}

static bool read_header(struct text *text, uint32_t *width, uint32_t *height,
                        struct fault *fault) {
    uint32_t greatest = 0;
    if (!read_number(text, width, fault) || !read_number(text, height, fault) ||
        !read_number(text, &greatest, fault)) {
        return false;
    }
    if (greatest != 255) {
        return fault_set(fault, FAULT_INPUT,
                         "the PPM file has %u as its greatest value; expected 255", greatest);
    }
    if (text->at >= text->size || !is_space(text->data[text->at])) {
        return damaged(fault, "its header is cut off or wrong");
    }
    text->at++;
    return true;
}

bool ppm_read(const uint8_t *data, size_t size, struct picture *picture, struct fault *fault) {
    struct text text = {data, size, 2};
    uint32_t width = 0, height = 0;
    size_t bytes = 0;
    unsigned channels = data[1] == '6' ? 3 : 1;
    *picture = (struct picture){0};
    if (!read_header(&text, &width, &height, fault) ||
        !picture_size(width, height, channels, "the PPM file has", &bytes, fault)) {
        return false;
    }
    if (bytes > size - text.at) {
        return damaged(fault, "it holds fewer pixels than its header says");
    }
    if (!picture_make(picture, width, height, channels, fault)) {
        return false;
    }
    memcpy(picture->pixels, data + text.at, bytes);
    return true;
}

size_t ppm_header(const struct picture *picture, char header[64]) {
    int wrote = snprintf(header, 64, "P%c\n%u %u\n255\n", picture->channels == 1 ? '5' : '6',
                         picture->width, picture->height);
    return (size_t)wrote;
}
