/* image_filters.so: the tasks image.blur and image.resize, on PNG and PPM files. */
#include "common/glue.h"
#include "image/blur.h"
#include "image/files.h"
#include "image/resize.h"

#include <stdio.h>
#include <string.h>

/* What both tasks take, and what they keep on the way. */
struct work {
    const char *file, *output;
    char source[PATH_MAX], target[PATH_MAX];
    enum picture_format format;
    struct picture picture;
    struct watch watch;
};

static bool read_files(stoker_job *job, struct work *work) {
    return stoker_need_text(job, "file", &work->file, NULL) == STOKER_FOUND &&
           stoker_read_text(job, "output", &work->output, NULL) != STOKER_WRONG;
}

static bool load(struct work *work, const struct folder *folder, struct fault *fault) {
    return folder_source(folder, work->file, work->source, fault) &&
           watch_tell(&work->watch, 0.0, fault) &&
           picture_load(work->source, &work->picture, &work->format, fault) &&
           watch_tell(&work->watch, 0.3, fault);
}

/* Beside the source, as `name-mark.png`. */
static bool name_beside(struct work *work, const char *mark, char name[PATH_MAX],
                        struct fault *fault) {
    char base[PATH_MAX];
    const char *own = folder_base(work->source), *dot = strrchr(own, '.');
    int stem = dot == NULL || dot == own ? (int)strlen(own) : (int)(dot - own);
    int wrote = snprintf(base, sizeof base, "%.*s%s%s", stem, own, mark,
                         picture_suffix(work->format));
    if (wrote < 0 || (size_t)wrote >= sizeof base) {
        return fault_set(fault, FAULT_ARGUMENTS, "the file name is too long");
    }
    return folder_beside(work->source, base, name, fault);
}

static bool choose_target(struct work *work, const struct folder *folder, const char *mark,
                          struct fault *fault) {
    char name[PATH_MAX];
    if (work->output == NULL) {
        return name_beside(work, mark, name, fault) &&
               folder_target(folder, name, work->source, work->target, fault);
    }
    if (!picture_format_of(work->output, &work->format)) {
        return fault_set(fault, FAULT_ARGUMENTS,
                         "output is '%.200s', whose suffix names no known format; expected .png, "
                         ".ppm or .pgm",
                         work->output);
    }
    return folder_target(folder, work->output, work->source, work->target, fault);
}

static bool check_target(const struct work *work, struct fault *fault) {
    if (work->format == PICTURE_PPM && picture_has_alpha(&work->picture)) {
        return fault_set(fault, FAULT_ARGUMENTS,
                         "the picture has transparency, which PPM cannot hold; name a .png file "
                         "as output");
    }
    return true;
}

static int finish(stoker_job *job, struct work *work, struct fault *fault) {
    char hex[DIGEST_HEX] = "";
    if (!watch_tell(&work->watch, 0.7, fault) ||
        !picture_save(&work->picture, work->format, work->target, fault) ||
        !picture_digest(&work->picture, hex, fault)) {
        return glue_end(job, fault);
    }
    stoker_put_text(job, "file", work->target);
    stoker_put_text(job, "format", picture_format_name(work->format));
    stoker_put_text(job, "mode", picture_mode(&work->picture));
    stoker_put_integer(job, "width", work->picture.width);
    stoker_put_integer(job, "height", work->picture.height);
    stoker_put_text(job, "pixels_sha256", hex);
    return STOKER_COMPLETED;
}

static bool prepare(struct work *work, const char *mark, struct fault *fault) {
    const struct folder *folder = glue_folder();
    return load(work, folder, fault) && choose_target(work, folder, mark, fault) &&
           check_target(work, fault);
}

static int blur(stoker_job *job) {
    static const char *const KNOWN[] = {"file", "output", "radius", NULL};
    struct work work = {.watch = glue_watch(job, "blur")};
    struct fault fault = {.kind = FAULT_NONE};
    int64_t radius = 2;
    if (!glue_check_keys(job, KNOWN) || !read_files(job, &work) ||
        stoker_read_integer(job, "radius", &radius) == STOKER_WRONG) {
        return STOKER_FAILED;
    }
    if (radius < 0 || radius > BLUR_MAX_RADIUS) {
        return stoker_discard(job, "InvalidArguments", "radius is %lld; expected 0 to %u",
                              (long long)radius, BLUR_MAX_RADIUS);
    }
    bool is_done = prepare(&work, "-blurred", &fault) &&
                   picture_blur(&work.picture, (unsigned)radius, &work.watch, &fault);
    int outcome = is_done ? finish(job, &work, &fault) : glue_end(job, &fault);
    picture_free(&work.picture);
    return outcome;
}

struct size {
    int64_t width, height; /* 0: not given */
    enum resize_filter filter;
};

/* A side that is given must be at least 1: 0 is no way to say "not given". */
static bool read_side(stoker_job *job, const char *name, int64_t *side) {
    stoker_found found = stoker_read_integer(job, name, side);
    if (found == STOKER_FOUND && (*side < 1 || *side > PICTURE_MAX_SIDE)) {
        (void)stoker_discard(job, "InvalidArguments", "%s is %lld; expected 1 to %u", name,
                             (long long)*side, PICTURE_MAX_SIDE);
        return false;
    }
    return found != STOKER_WRONG;
}

static bool read_filter(stoker_job *job, enum resize_filter *filter) {
    const char *name = "bilinear";
    if (stoker_read_text(job, "filter", &name, NULL) == STOKER_WRONG) {
        return false;
    }
    *filter = strcmp(name, "box") == 0 ? RESIZE_BOX : RESIZE_BILINEAR;
    if (*filter == RESIZE_BILINEAR && strcmp(name, "bilinear") != 0) {
        (void)stoker_discard(job, "InvalidArguments",
                             "filter is '%.50s'; expected box or bilinear", name);
        return false;
    }
    return true;
}

static bool read_size(stoker_job *job, struct size *size) {
    if (!read_side(job, "width", &size->width) || !read_side(job, "height", &size->height) ||
        !read_filter(job, &size->filter)) {
        return false;
    }
    if (size->width == 0 && size->height == 0) {
        (void)stoker_discard(job, "InvalidArguments", "resize needs width, height or both");
        return false;
    }
    return true;
}

/* Fill in the side that was not given, and refuse what would be too large on the way. */
static bool settle_size(const struct picture *picture, struct size *size, struct fault *fault) {
    uint32_t own_width = picture->width, own_height = picture->height;
    size_t bytes = 0;
    uint64_t width = size->width > 0
                         ? (uint64_t)size->width
                         : resize_in_proportion(own_width, own_height, (uint32_t)size->height);
    uint64_t height = size->height > 0
                          ? (uint64_t)size->height
                          : resize_in_proportion(own_height, own_width, (uint32_t)size->width);
    if (!picture_size(width, height, 4, "the output would have", &bytes, fault) ||
        !picture_size(width, own_height, 4, "half way, the picture would have", &bytes, fault)) {
        return false;
    }
    size->width = (int64_t)width;
    size->height = (int64_t)height;
    return true;
}

static int resize(stoker_job *job) {
    static const char *const KNOWN[] = {"file", "output", "width", "height", "filter", NULL};
    struct work work = {.watch = glue_watch(job, "resize")};
    struct fault fault = {.kind = FAULT_NONE};
    struct size size = {0, 0, RESIZE_BILINEAR};
    if (!glue_check_keys(job, KNOWN) || !read_files(job, &work) || !read_size(job, &size)) {
        return STOKER_FAILED;
    }
    bool is_done = prepare(&work, "-resized", &fault) &&
                   settle_size(&work.picture, &size, &fault) &&
                   picture_resize(&work.picture, (uint32_t)size.width, (uint32_t)size.height,
                                  size.filter, &work.watch, &fault);
    int outcome = is_done ? finish(job, &work, &fault) : glue_end(job, &fault);
    picture_free(&work.picture);
    return outcome;
}

static const stoker_task TASKS[] = {
    {.name = "image.blur",
     .run = blur,
     .mode = STOKER_PROCESS,
     .about = "Box blur of a PNG or PPM file: file, output, radius"},
    {.name = "image.resize",
     .run = resize,
     .mode = STOKER_PROCESS,
     .about = "Resize a PNG or PPM file: file, output, width, height, filter"},
};
STOKER_PLUGIN_WITH("image_filters", "1.0", TASKS, glue_open, NULL)
