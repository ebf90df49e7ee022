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
CFLAGS   := $(BASE_FLAGS) $(WARN) $(WERROR) $(FLAGS_$(VARIANT))
LDFLAGS  := $(LINK_$(VARIANT))

MAINS    := model/ridge_main.c server/predictor/main.c
ROOMS    := base model metrics server server/http server/predictor
LIB_SRC  := $(filter-out $(MAINS),$(wildcard $(addsuffix /*.c,$(ROOMS))))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o)
LIB      := $(B)/libridged.a
SUPPORT_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c))
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

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(P)/ridge: $(B)/model/ridge_main.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_model) -o $@

$(P)/ridged: $(B)/server/predictor/main.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_serve) -o $@

$(TESTS): $(B)/%: $(B)/%.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_serve) $(LIBS_model) -lcmocka -o $@

# ---- tests ----

T   ?= %
RUN := $(sort $(foreach t,$(TESTS),$(if $(filter $(T),$(notdir $t)),$t)))

.PHONY: test
test: $(RUN) all ## run the tests; T=test_ridge picks a program, F='*singular*' a case
	@fail=0; for t in $(RUN); do F='$(F)' $$t || fail=1; done; exit $$fail

# ---- housekeeping ----

.PHONY: format format-check
C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')
format: ## rewrite the sources in the house style
	clang-format -i $(C_FILES)
format-check: ## fail if a source is not in the house style
	clang-format --dry-run -Werror $(C_FILES)

.PHONY: help clean
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
clean: ## remove everything built
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
