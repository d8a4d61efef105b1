# The front door. `make run` and `make test` install what they need; the rest expects it there.
# Variables: BUILD (directory), PREFIX, DESTDIR, CC, WERROR=true, JOBS.

BUILD ?= build
BUILD_TEST ?= build-test
PREFIX ?= /usr/local
DESTDIR ?=
WERROR ?= false
JOBS ?= 2

.PHONY: all run test test-long bench lint check-asan check-tsan mutants go-env install uninstall deb format docs clean

# $(call configured,DIR,OPTIONS): set DIR up, once
configured = @tools/configure $(1) --prefix=$(PREFIX) $(2)

all:
	$(call configured,$(BUILD),-Dwerror=$(WERROR))
	@ninja -C $(BUILD) -j$(JOBS)

run:
	@tools/setup run
	@$(MAKE) --no-print-directory all
	@tools/first-run $(BUILD)

test:
	@tools/setup test
	$(call configured,$(BUILD_TEST),-Dtests=true -Dwerror=true)
	@tools/run-tests -b $(BUILD_TEST) -j$(JOBS)

test-long:
	@tools/setup test
	$(call configured,$(BUILD_TEST),-Dtests=true -Dwerror=true)
	@tools/run-tests -b $(BUILD_TEST) -j$(JOBS) --long

check-asan:
	@tools/setup test
	$(call configured,build-asan,-Dtests=true -Dwerror=true -Db_sanitize=address$(comma)undefined)
	@tools/run-tests -b build-asan -j$(JOBS) --sanitizer address

check-tsan:
	@tools/setup test
	$(call configured,build-tsan,-Dtests=true -Dwerror=true -Db_sanitize=thread)
	@tools/run-tests -b build-tsan -j$(JOBS) --sanitizer thread

mutants:
	@tools/setup test
	@tools/run-mutants

bench:
	@tools/setup run
	@$(MAKE) --no-print-directory all
	@bench/run

lint:
	@tools/lint

format:
	@tools/lint --format

docs:
	@tools/docs

# For programs in Go: eval "$(make -s go-env)"
go-env:
	@if test -e $(BUILD)/build.ninja; then ninja --quiet -C $(BUILD) -j$(JOBS) >&2; \
	 else $(MAKE) --no-print-directory all >&2; fi
	@tools/go-env $(BUILD)

install: all
	@DESTDIR="$(DESTDIR)" tools/install $(BUILD)

uninstall:
	@DESTDIR="$(DESTDIR)" tools/install --undo $(BUILD) $(PREFIX)

deb:
	@tools/setup deb
	@tools/deb $(BUILD)/deb -j$(JOBS)

clean:
	rm -rf build build-test build-asan build-tsan

comma := ,
