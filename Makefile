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
FLAGS_fuzz    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LINK_release  := -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--gc-sections -Wl,--as-needed
LINK_asan     := -fsanitize=address,undefined
LINK_tsan     := -fsanitize=thread
LINK_cover    := --coverage
LINK_fuzz     := -fsanitize=fuzzer,address,undefined

PACKAGES_serve := libevent_core libcjson libmd zlib
PACKAGES_model := libcjson libmd zlib openblas lapacke
PKG_CONFIG     ?= pkg-config
LIBS_serve := $(shell $(PKG_CONFIG) --libs $(PACKAGES_serve) 2>/dev/null) -lm -pthread
LIBS_model := $(shell $(PKG_CONFIG) --libs $(PACKAGES_model) 2>/dev/null) -lm -pthread
LIBS_relay := $(shell $(PKG_CONFIG) --libs libcurl 2>/dev/null) $(LIBS_serve)

VERSION  := 0.1.0
REVISION ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

CPPFLAGS := -I. -D_POSIX_C_SOURCE=200809L -MMD -MP \
            $(shell $(PKG_CONFIG) --cflags $(PACKAGES_serve) $(PACKAGES_model) 2>/dev/null)
DEFINES  := -DRIDGED_VERSION='"$(VERSION)"' -DRIDGED_REVISION='"$(REVISION)"'
CFLAGS   := $(BASE_FLAGS) $(WARN) $(WERROR) $(FLAGS_$(VARIANT))
LDFLAGS  := $(LINK_$(VARIANT))

MAINS    := model/ridge_main.c server/predictor/main.c server/relay/main.c
ROOMS    := base model metrics server server/http server/predictor server/relay
LIB_SRC  := $(filter-out $(MAINS),$(wildcard $(addsuffix /*.c,$(ROOMS))))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o)
LIB      := $(B)/libridged.a
SUPPORT_SRC := $(wildcard tests/support/*.c) tests/conformance/case.c
SUPPORT_OBJ := $(SUPPORT_SRC:%.c=$(B)/%.o)
TEST_SRC := $(wildcard tests/unit/test_*.c tests/api/test_*.c tests/integration/test_*.c \
                       tests/conformance/test_*.c tests/failures/test_*.c)
# These define malloc, or ask how much memory there is: the sanitizers have a malloc and memory of their own.
# Without optimization the large requests that memory is measured by take minutes.
ifneq ($(VARIANT),release)
TEST_SRC := $(filter-out tests/integration/test_memory.c,$(TEST_SRC))
endif
ifeq ($(filter release cover,$(VARIANT)),)
TEST_SRC := $(filter-out tests/failures/%,$(TEST_SRC))
endif
TESTS    := $(TEST_SRC:%.c=$(B)/%)

# Programs of the release land in build/ itself; other variants keep theirs.
ifeq ($(VARIANT),release)
P := build
else
P := $(B)
endif

.PHONY: all
all: $(P)/ridge $(P)/ridged $(P)/ridge-relay ## build the programs (VARIANT=release|asan|tsan|cover)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

# The page is the same in every variant, and its place is known to ui.c.
UI_SRC := $(addprefix server/predictor/ui/,assemble.sh page.html page.css page.js) \
          $(wildcard server/predictor/ui/vendor/uplot/*)
build/ui/page.html: $(UI_SRC)
	sh server/predictor/ui/assemble.sh build/ui
$(B)/server/predictor/ui.o: build/ui/page.html

# Only the programs know their version, so a commit recompiles three files.
$(MAINS:%.c=$(B)/%.o): CPPFLAGS += $(DEFINES)

# q, not r: two rooms may have files of one name, and r would keep the last of them only.
$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) qcs $@ $^

$(P)/ridge: $(B)/model/ridge_main.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_model) -o $@

$(P)/ridged: $(B)/server/predictor/main.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_serve) -o $@

$(P)/ridge-relay: $(B)/server/relay/main.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_relay) -o $@

$(TESTS): $(B)/%: $(B)/%.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_relay) $(LIBS_model) -lcmocka -o $@

$(B)/tests/failures/test_failures: $(B)/tests/failures/inject.o | $(B)/tests/failures/inject.so
$(B)/tests/failures/inject.so: tests/failures/inject.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(BASE_FLAGS) $(WARN) -O1 -fPIC -shared $< -o $@

# ---- what has to be installed ----

DEPS_RUN   := gcc make pkg-config libc6-dev libevent-dev libcjson-dev libmd-dev libopenblas-dev \
              liblapacke-dev zlib1g-dev libcurl4-openssl-dev
DEPS_TEST  := $(DEPS_RUN) libcmocka-dev prometheus prometheus-alertmanager python3 curl locales
DEPS_CHECK := $(DEPS_TEST) clang clang-format clang-tidy cppcheck shellcheck libclang-rt-14-dev
DEPS_STACK := $(DEPS_TEST) python3-yaml jq
DEPS_UI    := $(DEPS_TEST) nodejs chromium
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

.PHONY: deps deps-test deps-check deps-bench deps-ui
deps: ## install what building and running needs (root), or print the command
	$(call need,$(DEPS_RUN))
deps-test:
	$(call need,$(DEPS_TEST))
deps-check:
	$(call need,$(DEPS_CHECK))
deps-bench:
	$(call need,$(DEPS_BENCH))
deps-ui:
	$(call need,$(DEPS_UI))

# pkg-config answers are taken when make starts, so what was just installed needs a fresh make.
.PHONY: run
run: deps ## build, then serve the bundled model on :8080 (metrics on :8000)
	@$(MAKE) --no-print-directory all
	build/ridged --model_dir=model/california-housing.json

# ---- tests ----

# What compiles much does so on all cores; the tests of a run still follow each other.
PARALLEL := -j$(shell nproc)

T   ?= %
RUN := $(sort $(foreach t,$(TESTS),$(if $(filter $(T),$(notdir $t)),$t)))

.PHONY: test run-tests
test: deps-test ## run the tests; T=test_ridge picks a program, F='*singular*' a case
	@$(MAKE) --no-print-directory $(PARALLEL) run-tests
	@$(if $(filter \%,$(T)),$(MAKE) --no-print-directory rules alertmanager)
run-tests: all $(RUN)
	@F='$(F)' BUILD=$(P) sh tests/run.sh $(VARIANT) $(RUN)

# COLUMNS='kserve=127.0.0.1:8081 other=...' puts servers that already run beside them.
.PHONY: conformance-http
conformance-http: ## print what nginx, ridged and COLUMNS answer to good and bad HTTP
	$(call need,$(DEPS_RUN) nginx-light python3)
	@$(MAKE) --no-print-directory all
	@python3 tests/conformance/http_table.py $(COLUMNS:%=--column %)

# PYTHON names an interpreter of 3.9 or later that has venv.
.PHONY: conformance-kserve
conformance-kserve: ## ask ridged with KServe's own Python client (needs PyPI)
	$(call need,$(DEPS_RUN) python3 python3-venv)
	@$(MAKE) --no-print-directory all
	@$$(sh tests/conformance/kserve_env.sh) tests/conformance/kserve_client.py --ridged $(P)/ridged

.PHONY: rules alertmanager
rules: ## check the Prometheus rules and configuration and the Grafana dashboards
	@sh tests/stack/rules.sh
alertmanager: ## check Alertmanager's configuration and whom every alert reaches
	@sh tests/stack/alertmanager.sh

# PROMETHEUS3=build/prometheus3 puts a newer one beside Debian's.
.PHONY: stack-watch
stack-watch: deps-test ## a model drifts, is retrained on its journal and swapped, under a real Prometheus
	@$(MAKE) --no-print-directory all
	@[ -f data/holdout.csv ] || $(MAKE) --no-print-directory data || true
	python3 tests/stack/watch.py --prometheus prometheus $(PROMETHEUS3)

# GitHub's API description, the server that mocks it, and GitHub's own reader of workflows; Node.js 20 or newer.
NODE_MODULES := tests/stack/node_modules/.package-lock.json
.PHONY: node-modules
node-modules: $(NODE_MODULES)
$(NODE_MODULES): tests/stack/package-lock.json
	@command -v npm >/dev/null || { echo 'Please install Node.js 20 or newer with npm'; exit 1; }
	npm ci --prefix tests/stack --ignore-scripts --no-audit --no-fund
	@touch $@
build/stack/github.json: tests/stack/cut_api.py $(NODE_MODULES)
	python3 $< tests/stack/node_modules/@octokit/openapi/generated/api.github.com.deref.json $@

# California's rows where data/ has them, else made-up ones.
.PHONY: deps-stack stack stack-faults
deps-stack:
	$(call need,$(DEPS_STACK))
stack: deps-stack ## the whole loop, twice at once: true values drift, and a better model comes into service
	@$(MAKE) --no-print-directory all build/stack/github.json
	python3 tests/stack/loop.py
stack-faults: deps-stack ## the loop with whatever can go wrong in it; F=relay picks scenarios
	@$(MAKE) --no-print-directory all build/stack/github.json
	python3 tests/stack/faults.py $(F)

# ACTIONLINT and ZIZMOR are kept in build/. Cold, the two take about half a minute.
ACTIONLINT_MODULE := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
ZIZMOR            := zizmor==1.32.0
.PHONY: workflows workflows-test
workflows: build/actionlint build/zizmor ## check the workflows, and run their steps with stand-ins (needs Go, PyPI, npm)
	$(call need,python3 python3-venv python3-yaml shellcheck curl jq)
	@build/actionlint
	@build/zizmor/bin/zizmor --offline --quiet .github/workflows
	@python3 tests/stack/workflow/contract.py --self_test
	@python3 tests/stack/workflow/contract.py
	@$(MAKE) --no-print-directory workflows-test
workflows-test: $(NODE_MODULES) all build/kustomize
	@node --test --test-reporter=spec tests/stack/workflow/runner_test.mjs
	@python3 tests/stack/workflow/verify_test.py
	@python3 tests/stack/workflow/deploy_test.py
build/actionlint:
	@mkdir -p build
	GOBIN=$(abspath build) go install $(ACTIONLINT_MODULE)
build/zizmor:
	@python3 -m venv $@ && $@/bin/pip install -q $(ZIZMOR) || { rm -rf $@; exit 1; }

# The committed doors of tenants before a real Prometheus: one tenant sees nothing of another's. The proxy is of
# the version that the manifests name, through the Go module proxy; PROMETHEUS3 as above.
PROM_LABEL_PROXY := $(shell sed -n 's/.*image: .*prom-label-proxy:\(v[0-9.]*\)$$/\1/p;' k8s/monitoring/tenants/tenant-proxy.yaml | sort -u)
.PHONY: isolation
isolation: deps-test build/prom-label-proxy-$(PROM_LABEL_PROXY) ## show that a tenant sees nothing of another's behind k8s/monitoring's doors
	$(call need,nginx-light python3-yaml)
	@$(MAKE) --no-print-directory all
	python3 tests/stack/isolation.py --proxy build/prom-label-proxy-$(PROM_LABEL_PROXY) --prometheus prometheus $(PROMETHEUS3)
build/prom-label-proxy-%:
	@mkdir -p build
	GOBIN=$(abspath build)/.go go install github.com/prometheus-community/prom-label-proxy@$*
	mv build/.go/prom-label-proxy $@

# Grafana's own client, which knows its API, comes through the Go module proxy (or is a folder: GRAFANA_CLIENT).
GRAFANA_CLIENT_MODULE := github.com/grafana/grafana-openapi-client-go@v0.0.0-20260330113218-ee77c4f6f90e
GRAFANA_CLIENT ?= $(shell cd / && go mod download -json $(GRAFANA_CLIENT_MODULE) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
.PHONY: grafana-accounts-test
grafana-accounts-test: ## run the job that makes Grafana's accounts, from nothing, again, and killed anywhere
	$(call need,python3 python3-yaml)
	python3 -B tests/k8s/accounts_test.py $(GRAFANA_CLIENT)

# Prometheus 3.14.0, without its pages. Needs Go 1.25 or newer, gigabytes and many minutes; go install would
# refuse the module's exclusions.
PROMETHEUS3_MODULE := github.com/prometheus/prometheus@v0.314.0
.PHONY: prometheus3
prometheus3: build/prometheus3 ## build a newer Prometheus through the Go module proxy, for stack-watch
build/prometheus3:
	@mkdir -p build
	cd "$$(go mod download -json $(PROMETHEUS3_MODULE) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" && \
	    GOWORK=off go build -ldflags '-X github.com/prometheus/common/version.Version=3.14.0' -o $(abspath $@) ./cmd/prometheus

.PHONY: model-test
model-test: all ## train on California housing (make data), validate, serve, predict
	@sh tests/model_test.sh $(P)

.PHONY: ui-test
ui-test: deps-ui ## look at /ui in headless Chromium, pictures into build/ui; F=panels picks cases
	@$(MAKE) --no-print-directory all
	F='$(F)' RIDGED=$(P)/ridged node tests/ui/test_ui.mjs

# ---- manifests ----

KUSTOMIZE_MODULE := sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
.PHONY: overlays k8s-render k8s-check truth-table
overlays: ## write k8s/overlays and k8s/monitoring/tenants from k8s/users
	sh k8s/overlays.sh
	sh k8s/monitoring.sh
build/kustomize: # needs Go 1.24 or newer
	@mkdir -p build
	GOBIN=$(abspath build) go install $(KUSTOMIZE_MODULE)
build/k8s/venv: tests/k8s/requirements.txt
	$(call need,python3 python3-venv)
	@rm -rf $@ && mkdir -p $(@D) && python3 -m venv $@ && $@/bin/pip install -q -r $< && touch $@
k8s-render: build/kustomize
	@sh tests/k8s/render.sh build/kustomize build/k8s/rendered
k8s-check: k8s-render build/k8s/venv ## check every overlay and variant by the schemas of Kubernetes and KServe (needs Go, PyPI)
	@sh tests/k8s/sources.sh $(VERSION)
	@sh tests/k8s/validate.sh build/k8s/venv/bin/python build/k8s/rendered
truth-table: k8s-render build/k8s/venv ## compute who may reach what, compare it with tests/k8s/truth-table.txt (needs Go, PyPI)
	@build/k8s/venv/bin/python tests/k8s/truth_table.py build/k8s/venv/bin/nca build/k8s/rendered $(TRUTH)

# Kubernetes and KServe, without nodes: their servers through the Go module proxy, etcd from Debian.
PROMETHEUS_FOUND = $(addprefix --prometheus=,$(wildcard build/prometheus3))
.PHONY: apiserver cluster-check deploy-check
apiserver: ## build kube-apiserver, KServe's controller and their like, once, into the user's cache (20 minutes)
	@sh tests/k8s/build.sh
cluster-check: ## run README's "In a cluster" against a real API server with KServe, and what it must refuse
	$(call need,etcd-server openssl python3 python3-yaml)
	@$(MAKE) --no-print-directory build/ridged
	@programs=$$(sh tests/k8s/build.sh) && python3 -B tests/k8s/cluster_check.py --programs "$$programs" $(PROMETHEUS_FOUND)
deploy-check: ## all that is shown of the deployment, as a table (root; make apiserver first)
	@bash tests/k8s/deploy_check.sh

# ---- checks ----

.PHONY: check format format-check lint layers asan tsan replay strict hardening valgrind
check: deps-check ## everything that is checked beside the tests, with gcc and clang
	@$(MAKE) --no-print-directory format-check lint layers
	@$(MAKE) --no-print-directory strict hardening asan tsan replay

C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')
SH_FILES = $(shell git ls-files --cached --others --exclude-standard '*.sh') .ci/run
format: ## rewrite the sources in the house style
	clang-format -i $(C_FILES)
format-check: ## fail if a source is not in the house style
	clang-format --dry-run -Werror $(C_FILES)

TIDY_SRC = $(LIB_SRC) $(MAINS)
lint: layers ## clang-tidy, cppcheck, shellcheck, no secrets, generated manifests
	@python3 tests/secrets.py
	@sh tests/k8s/sources.sh $(VERSION)
	@printf '%s\n' $(TIDY_SRC) | xargs -P 2 -n 8 sh -c 'clang-tidy --quiet "$$@" -- $(CPPFLAGS) -std=c11 $(WARN) 2>/dev/null' lint
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
	    --suppress=missingIncludeSystem -I. $(TIDY_SRC)
	shellcheck $(SH_FILES)
layers: ## fail if an include points up
	@sh tests/layers.sh

strict: ## both compilers, every warning an error
	$(MAKE) --no-print-directory $(PARALLEL) VARIANT=release CC=gcc WERROR=-Werror B=build/strict-gcc P=build/strict-gcc all tests
	$(MAKE) --no-print-directory $(PARALLEL) VARIANT=release CC=clang WERROR=-Werror B=build/strict-clang P=build/strict-clang all tests
.PHONY: tests
tests: $(TESTS)

hardening: all ## what readelf says of the programs, also of those that `make strict` has built
	@sh tests/image/hardening.sh build/ridge build/ridged build/ridge-relay \
	    $(wildcard $(foreach p,ridge ridged ridge-relay,build/strict-*/$p))
valgrind: ## the tests of the door under Valgrind: no bad access, no leak
	$(call need,$(DEPS_TEST) valgrind libc6-dbg)
	@$(MAKE) --no-print-directory build/release/tests/api/test_api
	valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite,indirect,possible \
	    --error-exitcode=9 build/release/tests/api/test_api

asan: ## every test under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory $(PARALLEL) VARIANT=asan run-tests
tsan: ## every test under ThreadSanitizer
	@$(MAKE) --no-print-directory $(PARALLEL) VARIANT=tsan run-tests

# ---- fuzzing ----

FUZZ_SRC     := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_NAMES   := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)
REPLAYS      := $(FUZZ_NAMES:%=$(B)/tests/fuzz/replay_%)
FUZZ_SECONDS ?= 60

ifneq ($(filter asan cover,$(VARIANT)),)
$(REPLAYS): $(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_relay) $(LIBS_model) -lcmocka -o $@
endif
.PHONY: replay run-replay fuzz
replay: ## run the fuzz targets over their committed corpora
	@$(MAKE) --no-print-directory $(PARALLEL) VARIANT=asan run-replay
run-replay: $(REPLAYS)
	@for n in $(FUZZ_NAMES); do build/asan/tests/fuzz/replay_$$n tests/fuzz/corpus/$$n || exit 1; done
.PHONY: fuzz-replays fuzz-cover
fuzz-replays: $(REPLAYS)
fuzz-cover: ## lines that the fuzz targets execute of what they are for
	@$(MAKE) --no-print-directory VARIANT=cover fuzz-replays
	@sh tests/fuzz/cover.sh

fuzz: deps-check ## fuzz every target for FUZZ_SECONDS (clang)
	@for n in $(FUZZ_NAMES); do $(MAKE) --no-print-directory fuzz-$$n || exit 1; done
fuzz-%:
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=$(CLANG) build/fuzz/fuzz_$*
	@mkdir -p build/fuzz/corpus/$*
	build/fuzz/fuzz_$* -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=build/fuzz/crash-$*- \
	    $(wildcard tests/fuzz/$*.dict:%=-dict=%) build/fuzz/corpus/$* $(wildcard tests/fuzz/corpus/$*)
ifeq ($(VARIANT),fuzz)
build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o $(SUPPORT_OBJ) $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_relay) $(LIBS_model) -lcmocka -o $@
endif

# ---- data, model, measurements ----

.PHONY: data model bench bench-model cover
data: ## fetch and split the California housing table into data/ (DATA= names a local copy)
	sh model/data.sh "$(DATA)"

# One thread and a named OpenBLAS core make the artifact reproducible to the byte.
model: deps data ## retrain the bundled model from the rows not held out
	@$(MAKE) --no-print-directory build/ridge
	OPENBLAS_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell build/ridge train --data data/train.csv \
	    --target MedHouseVal --unit '100000 USD' --holdout_data data/holdout.csv \
	    --name california-housing --version 1 --date 2026-11-25 --out model/california-housing.json

bench: deps-bench ## requests per second and CPU per request beside nginx, start-up, memory
	@$(MAKE) --no-print-directory all build/bench_start build/ridged_unobserved
	bash tests/bench/bench.sh
build/bench_start: $(B)/tests/bench/bench_start.o
	$(CC) $(LDFLAGS) $^ -o $@

build/ridged_unobserved: $(B)/server/predictor/main.o $(B)/tests/bench/unobserved.o $(LIB)
	$(CC) $(LDFLAGS) -Wl,--wrap=observed_predictions,--wrap=monitor_remember $^ $(LIBS_serve) -o $@

bench-model: deps-bench data ## the kernel model's speed and accuracy beside scikit-learn's and XGBoost
	@$(MAKE) --no-print-directory all build/bench_kernel build/bench_explain
	bash tests/bench/bench_model.sh
build/bench_kernel: $(B)/tests/bench/bench_kernel.o $(LIB)
	$(CC) $(LDFLAGS) $^ -lm -o $@
build/bench_explain: $(B)/tests/bench/bench_explain.o $(LIB)
	$(CC) $(LDFLAGS) $^ $(LIBS_serve) -o $@

# A run in which fewer lines are executed fails.
COVER_FLOOR ?= 95
cover: deps-test ## lines the tests execute, by room, and the functions they never call
	@[ ! -d build/cover ] || find build/cover -name '*.gcda' -delete
	@$(MAKE) --no-print-directory $(PARALLEL) VARIANT=cover run-tests
	@sh tests/cover.sh $(COVER_FLOOR)

# ---- the loop ----
# What the steps of .github/workflows call. A request's values come in through the environment and are never
# part of a recipe. Files go from one job to the next in build/loop/prepared and build/loop/retrained.

LOOP      := build/loop
MODEL_OUT ?= $(LOOP)/prepared/champion.json

.PHONY: retrain-request deploy-request kubeconfig champion feedback retrain-data retrain retrain-validate
retrain-request deploy-request: ## fail unless what was asked for is sound, and for retraining was not asked for before
	@sh k8s/deploy/request.sh $(@:-request=)
kubeconfig:
	@aws eks update-kubeconfig --name "$$EKS_CLUSTER"
champion: ## the artifact that serves USER_ID, out of its image, to MODEL_OUT
	@sh k8s/deploy/champion.sh $(MODEL_OUT)
feedback: ## USER_ID's true values, from GATEWAY_URL with FEEDBACK_TOKEN
	@sh k8s/deploy/feedback.sh $(LOOP)/feedback.csv
retrain-data: $(P)/ridge ## training, selection and validation rows from the base data and the true values
	@sh k8s/deploy/retrain.sh prepare
retrain: $(P)/ridge ## train the candidates and pick one
	@sh k8s/deploy/retrain.sh retrain
retrain-validate: $(P)/ridge ## fail unless it is good (MAX_MAE, MIN_R2) and better than the one in service
	@sh k8s/deploy/retrain.sh validate

.PHONY: image-push image-sign image-verify deploy verify-deployment promote rollback notify
image-push image-sign image-verify: ## build, SBOM, provenance; sign; check the signature
	@sh k8s/deploy/image.sh $(@:image-%=%)
deploy: ## IMAGE (by digest) into service for USER_ID
	@sh k8s/deploy/deploy.sh deploy
verify-deployment: $(P)/ridge ## fail unless IMAGE serves as it should
	@sh k8s/deploy/deploy.sh verify
promote rollback: $(P)/ridge ## all requests to IMAGE; or PREVIOUS back into service, and the proof of it
	@sh k8s/deploy/deploy.sh $@
notify:
	@sh k8s/deploy/notify.sh

# ---- the container image ----

# MODEL= bakes another artifact in; it lies in this folder, not below build/ or data/. IMAGE= names the image,
# ENGINE= is docker or buildah, ARCHIVE= another place for it; to image-run-test also what `docker save` wrote.
# RUNTIME=chroot leaves crun out.
ARCHIVE ?= build/image.tar
SBOM    := $(ARCHIVE:.tar=.spdx.json)
ARTIFACT = $(or $(MODEL),model/california-housing.json)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
.PHONY: image image-run-test build/rootfs
image: ## build the container image, with or without docker, into build/image.tar, its SBOM beside it
	@REVISION=$(REVISION) MODEL=$(ARTIFACT) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
	    sh image/build.sh $(or $(IMAGE),ridged:$(VERSION)) $(ARCHIVE) $(ENGINE)
	@python3 image/sbom.py $(ARCHIVE) $(SBOM)
build/rootfs: all # what the Dockerfile runs
	sh image/rootfs.sh $@ $(ARTIFACT) build/ridged build/ridge build/ridge-relay

image-run-test: ## check the image that `make image` left and run its programs as a cluster would (root)
	$(call need,python3 python3-venv binutils iproute2 openssl crun golang-github-containers-common)
	@sh tests/image/spdx.sh $(SBOM)
	@unshare --mount --net python3 tests/image/test.py $(ARCHIVE) $(SBOM) $(RUNTIME)

# ---- housekeeping ----

PREFIX ?= /usr/local
.PHONY: install help clean
install: all ## install the programs under PREFIX
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin build/ridge build/ridged build/ridge-relay
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9 -]*:.*## / {split($$1, n, " "); printf "  %-14s %s\n", n[1], $$2}' $(firstword $(MAKEFILE_LIST))
clean: ## remove everything built
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
