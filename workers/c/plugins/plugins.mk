# The plugins, and what tests them; ../Makefile includes this file: `make -C workers/c plugins`.
#
# Each is one shared object that links against its own libraries and nothing of the worker.
PLUGIN_OUT ?= $(or $(BUILD),build)/plugins
PLUGIN_CC ?= $(CC)
PLUGIN_HARDENING ?= -D_FORTIFY_SOURCE=3 -fstack-protector-strong
# Vectors for the loops over pixels (-O3), and no fused multiply-add: it rounds once where the twins
# in Python round twice.
PLUGIN_CFLAGS = -std=c11 -D_GNU_SOURCE -O3 -g -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror \
	-fPIC -fvisibility=hidden -ffp-contract=off $(PLUGIN_HARDENING) -I include $(PLUGIN_SANITIZERS)
PLUGIN_LDFLAGS = -shared -Wl,-z,relro,-z,now,-z,noexecstack $(PLUGIN_SANITIZERS)

PLUGIN_NAMES := image_filters compression checksum encryption csv_statistics
PLUGIN_COMMON := $(wildcard plugins/common/*.c)
PLUGIN_HEADERS := include/stoker_worker.h $(wildcard plugins/*/*.h)

$(PLUGIN_OUT)/image_filters.so: $(wildcard plugins/image/*.c)
$(PLUGIN_OUT)/image_filters.so: PLUGIN_LIBS = -ldeflate -lcrypto -lm
$(PLUGIN_OUT)/compression.so: $(wildcard plugins/compression/*.c)
$(PLUGIN_OUT)/compression.so: PLUGIN_LIBS = -lz -lcrypto
$(PLUGIN_OUT)/checksum.so: PLUGIN_LIBS = -lz -lcrypto
$(PLUGIN_OUT)/encryption.so: $(wildcard plugins/encryption/*.c)
$(PLUGIN_OUT)/encryption.so: PLUGIN_LIBS = -lcrypto
$(PLUGIN_OUT)/csv_statistics.so: $(wildcard plugins/statistics/*.c)
$(PLUGIN_OUT)/csv_statistics.so: PLUGIN_LIBS = -lcrypto -lm

PLUGIN_FILES := $(PLUGIN_NAMES:%=$(PLUGIN_OUT)/%.so)

$(PLUGIN_FILES): $(PLUGIN_OUT)/%.so: plugins/%.c $(PLUGIN_COMMON) $(PLUGIN_HEADERS) plugins/plugins.mk
	@mkdir -p $(@D)
	$(PLUGIN_CC) $(PLUGIN_CFLAGS) $(PLUGIN_LDFLAGS) -o $@ $(filter %.c,$^) $(PLUGIN_LIBS)

.PHONY: plugins plugins-asan plugin-fuzzers
plugins: $(PLUGIN_FILES)

# For the tests: a worker and plugins with AddressSanitizer and UndefinedBehaviorSanitizer, in the
# folder and with the flags of ../Makefile's `sanitize`.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all
plugins-asan:
	@$(MAKE) BUILD=build/asan OPTIMISE="-O1 -g -fno-omit-frame-pointer" \
		HARDENING="-fPIE -fvisibility=hidden" CFLAGS="$(SANITIZERS)" LDFLAGS="$(SANITIZERS)" \
		PLUGIN_HARDENING= PLUGIN_SANITIZERS="$(SANITIZERS) -fno-omit-frame-pointer" programs plugins

# Coverage-guided fuzzers of what reads files of unknown origin.
FUZZ_OUT ?= build/fuzz
FUZZ_FLAGS := -std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -ffp-contract=off -I include -I plugins \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
FUZZ_COMMON := plugins/common/fault.c plugins/common/digest.c plugins/common/folder.c plugins/common/part.c

plugin-fuzzers: $(FUZZ_OUT)/fuzz_image $(FUZZ_OUT)/fuzz_csv

$(FUZZ_OUT)/fuzz_image: plugins/fuzz/fuzz_image.c $(wildcard plugins/image/*.c) $(FUZZ_COMMON)
$(FUZZ_OUT)/fuzz_image: PLUGIN_LIBS = -ldeflate -lcrypto -lm
$(FUZZ_OUT)/fuzz_csv: plugins/fuzz/fuzz_csv.c $(wildcard plugins/statistics/*.c) plugins/common/fault.c
$(FUZZ_OUT)/fuzz_csv: PLUGIN_LIBS = -lm

$(FUZZ_OUT)/fuzz_image $(FUZZ_OUT)/fuzz_csv: $(PLUGIN_HEADERS) plugins/plugins.mk
	@mkdir -p $(@D)
	clang $(FUZZ_FLAGS) -o $@ $(filter %.c,$^) $(PLUGIN_LIBS)

# What benchmarks/plugins.py runs beside Pillow, with the flags of the plugins.
.PHONY: plugin-bench
plugin-bench: $(or $(BUILD),build)/bench_filters

$(or $(BUILD),build)/bench_filters: plugins/bench/bench_filters.c $(wildcard plugins/image/*.c) $(FUZZ_COMMON) $(PLUGIN_HEADERS)
	@mkdir -p $(@D)
	$(PLUGIN_CC) $(PLUGIN_CFLAGS) -I plugins -o $@ $(filter %.c,$^) -ldeflate -lcrypto -lm
