#include "base64.h"

#include <stdint.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const unsigned char *data, size_t size, char *text) {
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t group = (uint32_t)data[at] << 16 | (uint32_t)(left > 1 ? data[at + 1] : 0) << 8 |
                         (left > 2 ? data[at + 2] : 0);
        *text++ = ALPHABET[group >> 18];
        *text++ = ALPHABET[group >> 12 & 63];
        *text++ = left > 1 ? ALPHABET[group >> 6 & 63] : '=';
        *text++ = left > 2 ? ALPHABET[group & 63] : '=';
    }
    *text = '\0';
}

static int value_of(char letter) {
    if (letter >= 'A' && letter <= 'Z') {
        return letter - 'A';
    }
    if (letter >= 'a' && letter <= 'z') {
        return letter - 'a' + 26;
    }
    if (letter >= '0' && letter <= '9') {
        return letter - '0' + 52;
    }
    return letter == '+' ? 62 : letter == '/' ? 63 : -1;
}

static bool decode_group(const char *text, size_t letters, unsigned char *data) {
    uint32_t group = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < letters ? value_of(text[i]) : 0;
        if (value < 0) {
            return false;
        }
        group = group << 6 | (uint32_t)value;
    }
    for (size_t i = 0; i + 1 < letters; i++) {
        data[i] = (unsigned char)(group >> (16 - 8 * i));
    }
    return true;
}

bool base64_decode(const char *text, size_t length, unsigned char *data, size_t *size) {
    *size = 0;
    if (length % 4 != 0) {
        return false;
    }
    for (size_t at = 0; at < length; at += 4) {
        size_t letters = 4;
        if (at + 4 == length && text[at + 3] == '=') {
            letters = text[at + 2] == '=' ? 2 : 3;
        }
        if (!decode_group(text + at, letters, data + *size)) {
            return false;
        }
        *size += letters - 1;
    }
    return true;
}
