# Everything is built, tested and run from here; `make help` lists the targets.
# Each variant builds into build/<variant>/, so switching sanitizers never needs a clean.

VARIANT ?= release
B       := build/$(VARIANT)
CC      ?= cc
CLANG   ?= clang

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wwrite-strings -Wvla -Wformat=2 -Wundef
# -ffp-contract=off: a prediction has the same bits whatever the compiler would like to fuse.
BASE_FLAGS    := -std=c11 -g -ffp-contract=off -fno-math-errno
FLAGS_release := -O2 -DNDEBUG -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
                 -ffunction-sections -fdata-sections
FLAGS_asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan    := -O1 -fsanitize=thread
FLAGS_cover   := -O0 --coverage
LINK_release  := -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--gc-sections -Wl,--as-needed
LINK_asan     := -fsanitize=address,undefined
LINK_tsan     := -fsanitize=thread
LINK_cover    := --coverage

PACKAGES_serve := libevent_core libcjson libmd
PACKAGES_model := libcjson libmd openblas lapacke
PKG_CONFIG     ?= pkg-config
LIBS_serve := $(shell $(PKG_CONFIG) --libs $(PACKAGES_serve) 2>/dev/null) -lm -pthread
LIBS_model := $(shell $(PKG_CONFIG) --libs $(PACKAGES_model) 2>/dev/null) -lm -pthread

VERSION  := 0.1.0
REVISION ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

CPPFLAGS := -I. -D_POSIX_C_SOURCE=200809L -MMD -MP \
            $(shell $(PKG_CONFIG) --cflags $(PACKAGES_serve) $(PACKAGES_model) 2>/dev/null)
DEFINES  := -DRIDGED_VERSION='"$(VERSION)"' -DRIDGED_REVISION='"$(REVISION)"'
CFLAGS   := $(BASE_FLAGS) $(WARN) $(WERROR) $(FLAGS_$(VARIANT))
LDFLAGS  := $(LINK_$(VARIANT))

MAINS    := model/ridge_main.c server/predictor/main.c
ROOMS    := base model metrics server server/http server/predictor
LIB_SRC  := $(filter-out $(MAINS),$(wildcard $(addsuffix /*.c,$(ROOMS))))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o)
LIB      := $(B)/libridged.a
SUPPORT_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c) tests/conformance/case.c)
TEST_SRC := $(wildcard tests/unit/test_*.c tests/api/test_*.c tests/integration/test_*.c \
                       tests/conformance/test_*.c)
TESTS    := $(TEST_SRC:%.c=$(B)/%)

# Programs of the release land in build/ itself; other variants keep theirs.
ifeq ($(VARIANT),release)
P := build
else
P := $(B)
endif

.PHONY: all
all: $(P)/ridge $(P)/ridged ## build the programs (VARIANT=release|asan|tsan|cover)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

# Only the programs know their version, so a commit recompiles two files.
$(MAINS:%.c=$(B)/%.o): CPPFLAGS += $(DEFINES)

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(P)/ridge: $(B)/model/ridge_main.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_model) -o $@

$(P)/ridged: $(B)/server/predictor/main.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_serve) -o $@

$(TESTS): $(B)/%: $(B)/%.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_serve) $(LIBS_model) -lcmocka -o $@

# ---- what has to be installed ----

DEPS_RUN   := gcc make pkg-config libc6-dev libevent-dev libcjson-dev libmd-dev libopenblas-dev \
              liblapacke-dev
DEPS_TEST  := $(DEPS_RUN) libcmocka-dev prometheus curl
DEPS_CHECK := $(DEPS_TEST) clang clang-format clang-tidy cppcheck shellcheck libclang-rt-14-dev
DEPS_BENCH := $(DEPS_TEST) nginx-light wrk python3-sklearn python3-venv time

# $(call need,packages): installs what is missing as root, otherwise prints the command to type. Debian's
# service files are kept from starting anything.
define need
@missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' \
    || missing="$$missing $$p"; done; \
[ -z "$$missing" ] && exit 0; \
if [ "$$(id -u)" != 0 ]; then echo "Please run: sudo apt-get install -y --no-install-recommends$$missing"; exit 1; fi; \
echo "installing$$missing"; apt-get update -qq && \
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $$missing >build-deps.log 2>&1 \
    || { cat build-deps.log; exit 1; }; rm -f build-deps.log
endef

.PHONY: deps deps-test deps-check deps-bench
deps: ## install what building and running needs (root), or print the command
	$(call need,$(DEPS_RUN))
deps-test:
	$(call need,$(DEPS_TEST))
deps-check:
	$(call need,$(DEPS_CHECK))
deps-bench:
	$(call need,$(DEPS_BENCH))

# pkg-config answers are taken when make starts, so what was just installed needs a fresh make.
.PHONY: run
run: deps ## build, then serve the bundled model on :8080 (metrics on :8000)
	@$(MAKE) --no-print-directory all
	build/ridged --model_dir=model/california-housing.json

# ---- tests ----

T   ?= %
RUN := $(sort $(foreach t,$(TESTS),$(if $(filter $(T),$(notdir $t)),$t)))

.PHONY: test run-tests
test: deps-test ## run the tests; T=test_ridge picks a program, F='*singular*' a case
	@$(MAKE) --no-print-directory run-tests
run-tests: all $(RUN)
	@fail=0; for t in $(RUN); do F='$(F)' BUILD=$(P) $$t || { echo "FAILED: $$t"; fail=1; }; done; exit $$fail

# ---- checks ----

.PHONY: check format format-check lint layers asan tsan replay strict
check: deps-check ## everything that is checked beside the tests, with gcc and clang
	@$(MAKE) --no-print-directory format-check lint layers
	@$(MAKE) --no-print-directory strict asan tsan replay

C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')
SH_FILES = $(shell git ls-files --cached --others --exclude-standard '*.sh') .ci/run
format: ## rewrite the sources in the house style
	clang-format -i $(C_FILES)
format-check: ## fail if a source is not in the house style
	clang-format --dry-run -Werror $(C_FILES)

TIDY_SRC = $(LIB_SRC) $(MAINS)
lint: layers ## clang-tidy, cppcheck, shellcheck
	@printf '%s\n' $(TIDY_SRC) | xargs -P 2 -n 8 sh -c 'clang-tidy --quiet "$$@" -- $(CPPFLAGS) -std=c11 $(WARN) 2>/dev/null' lint
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
	    --suppress=missingIncludeSystem -I. $(TIDY_SRC)
	shellcheck $(SH_FILES)
layers: ## fail if an include points up
	@sh tests/layers.sh

strict: ## both compilers, every warning an error
	$(MAKE) --no-print-directory VARIANT=release CC=gcc WERROR=-Werror B=build/strict-gcc P=build/strict-gcc all tests
	$(MAKE) --no-print-directory VARIANT=release CC=clang WERROR=-Werror B=build/strict-clang P=build/strict-clang all tests
.PHONY: tests
tests: $(TESTS)

asan: ## every test under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory VARIANT=asan run-tests
tsan: ## every test under ThreadSanitizer
	@$(MAKE) --no-print-directory VARIANT=tsan run-tests

# ---- fuzzing ----

FUZZ_SRC     := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_NAMES   := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)
REPLAYS      := $(FUZZ_NAMES:%=build/asan/tests/fuzz/replay_%)
FUZZ_SECONDS ?= 60

ifeq ($(VARIANT),asan)
$(REPLAYS): build/asan/tests/fuzz/replay_%: build/asan/tests/fuzz/fuzz_%.o build/asan/tests/fuzz/replay.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_serve) $(LIBS_model) -lcmocka -o $@
endif
.PHONY: replay run-replay fuzz
replay: ## run the fuzz targets over their committed corpora
	@$(MAKE) --no-print-directory VARIANT=asan run-replay
run-replay: $(REPLAYS)
	@for n in $(FUZZ_NAMES); do build/asan/tests/fuzz/replay_$$n tests/fuzz/corpus/$$n || exit 1; done

fuzz: deps-check ## fuzz every target for FUZZ_SECONDS (clang)
	@for n in $(FUZZ_NAMES); do $(MAKE) --no-print-directory fuzz-$$n || exit 1; done
fuzz-%:
	@mkdir -p build/fuzz/corpus/$*
	clang $(CPPFLAGS) -std=c11 -g -O1 -ffp-contract=off -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	    -MF build/fuzz/$*.d tests/fuzz/fuzz_$*.c $(LIB_SRC) $(LIBS_serve) $(LIBS_model) -o build/fuzz/$*
	build/fuzz/$* -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=build/fuzz/crash-$*- \
	    $(wildcard tests/fuzz/$*.dict:%=-dict=%) build/fuzz/corpus/$* $(wildcard tests/fuzz/corpus/$*)

# ---- data, model, measurements ----

.PHONY: data model bench bench-model cover
data: ## fetch and split the California housing table into data/ (DATA= names a local copy)
	sh model/data.sh $(DATA)

# One thread and a named OpenBLAS core make the artifact reproducible to the byte.
model: deps data ## retrain the bundled model from the rows not held out
	@$(MAKE) --no-print-directory build/ridge
	OPENBLAS_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell build/ridge train --data data/train.csv \
	    --target MedHouseVal --unit '100000 USD' --holdout_data data/holdout.csv \
	    --name california-housing --version 1 --date 2026-11-24 --out model/california-housing.json

bench: deps-bench ## requests per second and CPU per request beside nginx, start-up, memory
	@$(MAKE) --no-print-directory all build/bench_start
	bash tests/bench/bench.sh
build/bench_start: $(B)/tests/bench/bench_start.o
	$(CC) $(LDFLAGS) $^ -o $@

bench-model: deps-bench data ## the kernel model's speed and accuracy beside scikit-learn's and XGBoost
	@$(MAKE) --no-print-directory all build/bench_kernel
	bash tests/bench/bench_model.sh
build/bench_kernel: $(B)/tests/bench/bench_kernel.o $(LIB)
	$(CC) $(LDFLAGS) $^ -lm -o $@

cover: deps-test ## line coverage of the tests
	@$(MAKE) --no-print-directory VARIANT=cover run-tests
	@cd build/cover && find . -name '*.gcda' -not -path './tests/*' -exec gcov -r -s $(CURDIR) {} + 2>/dev/null | \
	    awk '/^Lines executed/ {line = $$0} END {print "total: " line}'

# ---- housekeeping ----

PREFIX ?= /usr/local
.PHONY: install image help clean
install: all ## install the programs under PREFIX
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin build/ridge build/ridged
image: ## build the container image
	docker build -t ridged:$(VERSION) .
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / {split($$1, n, " "); printf "  %-14s %s\n", n[1], $$2}' $(firstword $(MAKEFILE_LIST))
clean: ## remove everything built
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
