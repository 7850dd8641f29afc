# make            build ./run           make test    all tests, offline, in about two minutes
# make dist       dist/pith.c, pith.h   make check   the programs of make test under ASan and UBSan
# make fuzz       looks for input that breaks a reader, FUZZ_SECONDS each (clang)
# make install PREFIX=/usr/local        make PORTABLE=1  without the kernels of math/twins/
# make story-model TEXT=stories.txt     make BUNDLE=0    without the model that is built in

# Only BSD's make runs this before anything else.
.BEGIN:
	@echo "this Makefile is for GNU make: gmake" >&2; exit 1

CFLAGS  ?= -O2
LDFLAGS ?= -s
PREFIX  ?= /usr/local
BUILD   ?= build
RUN     ?= run
VERSION := $(shell sed -n 's/^.define PITH_VERSION "\(.*\)"/\1/p' model.h)

# Reading order = link order: a file uses only what stands before it (scripts/layers.sh).
ENGINE  = base/bytes.c base/os.c base/arena.c base/utf8.c base/json.c base/team.c \
          math/fit.c math/encode.c math/encode_k.c math/quant.c math/delta.c math/recurrent.c math/kernels.c math/twins/x86.c math/twins/arm.c \
          formats/store.c formats/spelling.c formats/words.c formats/llama2c.c formats/ggufvocab.c formats/gguf.c \
          formats/folder.c formats/hfnames.c formats/hfrope.c formats/split.c formats/hflatent.c formats/hfhead.c formats/hfhybrid.c formats/hfdelta.c formats/hfbert.c formats/hfgemma4.c formats/hfapertus.c formats/hfgptoss.c formats/hfrouting.c formats/hfabout.c formats/hfconfig.c formats/hfread.c formats/hfwords.c formats/hfunigram.c formats/postprocess.c formats/hftokenizer.c formats/safetensors.c formats/sentence.c \
          formats/open.c formats/adapter.c formats/pieces.c formats/write.c formats/hfwrite.c formats/imatrix.c \
          text/unicode.c text/compat.c text/bertchars.c text/casing.c text/lower.c text/added.c text/wordpiece.c text/pretokenize.c \
          text/charset.c text/charmap.c text/rewrite.c text/unigram.c text/grammar.c text/gbnf.c text/matcher.c text/trie.c \
          text/automaton.c text/pattern.c text/decimal.c text/schema.c text/scalars.c text/keywords.c text/rules.c \
          text/jinja_value.c text/jinja_write.c text/jinja_format.c text/jinja_math.c text/jinja_methods.c \
          text/jinja_filters.c text/jinja_functions.c text/jinja_lex.c text/jinja_expression.c \
          text/jinja_parse.c text/jinja_run.c text/jinja.c text/messages.c \
          tokenizer.c vocabulary.c frame.c chat.c thoughts.c \
          families.c pooling.c bind.c model.c template.c lora.c export.c foldersay.c folderrope.c foldertypes.c folderconfig.c foldertokens.c folderweights.c merge.c merged.c requant.c project.c experts.c latent.c recurrent.c delta.c mamba.c forward.c heads.c pass.c panels.c session.c embed.c keep.c odds.c candidates.c penalties.c sampler.c constrain.c generate.c nearest.c
HEADERS = $(wildcard model.h internal.h base/*.h math/*.h math/twins/*.inc formats/*.h text/*.h)
TRAIN   = train/params.c train/qat.c train/precision.c train/product.c train/norm.c train/attention.c train/gather.c train/adapt.c train/project.c train/experts.c train/recurrent.c \
          train/delta.c train/mamba.c train/backward.c train/tape.c train/loss.c train/step.c train/preference.c train/ppo.c train/value.c train/policy.c train/drift.c train/apart.c train/importance.c train/recall.c train/adamw.c \
          train/checkpoint.c train/dataset.c train/pairs.c train/fields.c train/answers.c train/examples.c train/logps.c train/reward.c train/packs.c train/vocab.c train/init.c
BUNDLED = $(if $(filter 0,$(BUNDLE)),,models/stories.gguf)
TOOLS   = tools/bundle.c \
          tools/cli.c \
          tools/flags.c \
          tools/adapters.c \
          tools/purpose.c \
          tools/output.c \
          tools/kept.c \
          tools/sampling.c \
          tools/line.c \
          tools/jsonl.c \
          tools/vocab.c \
          tools/drift.c \
          tools/imatrix.c \
          tools/index.c \
          tools/vectors.c \
          tools/search.c \
          tools/probes.c \
          tools/merge.c \
          tools/program.c \
          tools/rewards.c \
          tools/curves.c \
          tools/types.c \
          tools/qat.c \
          tools/checkpoints.c \
          tools/forecast.c \
          tools/show.c \
          tools/trainer.c \
          tools/pretrain.c \
          tools/forgetting.c \
          tools/tuning.c \
          tools/sft.c \
          tools/dpo.c \
          tools/reward.c \
          tools/likelihood.c \
          tools/rows.c \
          tools/trace.c \
          tools/fill.c \
          tools/classify.c \
          tools/tokenize.c \
          tools/quantize.c \
          tools/info.c \
          tools/grammar.c \
          tools/masks.c \
          tools/shapes.c \
          tools/bench.c \
          tools/samples.c \
          tools/messages.c \
          tools/template.c \
          tools/scores.c \
          tools/embed.c \
          tools/score.c \
          tools/voice.c \
          tools/commands.c \
          tools/talk.c \
          tools/values.c \
          tools/prompts.c \
          tools/request.c \
          tools/answer.c \
          tools/slots.c \
          tools/batch.c \
          tools/rollouts.c \
          tools/rollout_rows.c \
          tools/tasks.c \
          tools/reward_model.c \
          tools/ppo_batch.c \
          tools/ppo.c \
          tools/experience.c \
          tools/grpo.c
TESTS   = $(wildcard tests/t_*.c)

# Asked once, and only by what compiles.
OPENMP  = $(eval OPENMP := $(if $(NO_OPENMP),,$(shell sh scripts/openmp.sh $(CC) $(CFLAGS) $(LDFLAGS))))$(OPENMP)
ALL_CFLAGS = -std=c11 -Wall -Wextra -Wpedantic -Wshadow $(CFLAGS:-Ofast=-O3) -fno-fast-math -ffp-contract=off $(OPENMP) \
             $(if $(PORTABLE),-DPITH_PORTABLE) $(if $(FEWER_TWINS),-DPITH_FEWER_TWINS) -MMD -MP

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

$(RUN): $(call objects,$(ENGINE) $(TRAIN) $(TOOLS) run.c)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ -lm -o $@

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/tools/bundle.o: ALL_CFLAGS += $(if $(BUNDLED),-DBUNDLE='"$(BUNDLED)"')
$(BUILD)/tools/bundle.o: $(BUNDLED)

$(BUILD)/math/%.o: ALL_CFLAGS += $(if $(filter -O2,$(CFLAGS)),-O3)
# EMULATED=1: all kernels of x86 processors, by a model of their instructions (scripts/elsewhere.sh tests them).
$(BUILD)/math/twins/x86.o: ALL_CFLAGS += $(if $(EMULATED),-include tests/x86_model.h -O1 -w -Wno-psabi)
$(BUILD)/candidates.o $(BUILD)/sampler.o: ALL_CFLAGS += $(if $(filter -O2,$(CFLAGS)),-O3)

$(BUILD)/libpith.a: $(call objects,$(ENGINE) $(TRAIN) $(TOOLS))
	@rm -f $@
	ar rcs $@ $^

# ---- tests -----------------------------------------------------------------------------------------

.SECONDARY:

test_programs = $(patsubst tests/%.c,$(BUILD)/%,$(TESTS))
fuzz_programs = $(patsubst tests/%.c,$(BUILD)/%,$(filter-out tests/fuzz_main.c,$(wildcard tests/fuzz_*.c)))

$(BUILD)/tests/t_%.o: ALL_CFLAGS += -D_GNU_SOURCE -I. $(if $(BRIEF),-DTEST_BRIEF)
$(BUILD)/tests/fuzz_%.o: ALL_CFLAGS += -I.
$(BUILD)/t_%: $(BUILD)/tests/t_%.o $(BUILD)/tests/fixture.o $(BUILD)/libpith.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(WRAP) $(filter %.o %.a,$^) -lm -o $@
# Every allocation of this one can be made to fail.
$(BUILD)/t_memory: WRAP = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free
# And every rename of this one.
$(BUILD)/t_write: WRAP = -Wl,--wrap=rename
# What make BUNDLE=0 links.
$(BUILD)/no_bundle: tools/bundle.c $(call objects,$(filter-out tools/bundle.c,$(ENGINE) $(TRAIN) $(TOOLS)) run.c)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.c %.o,$^) -lm -o $@
$(BUILD)/fixture: $(BUILD)/tests/fixture_main.o $(BUILD)/tests/fixture.o $(BUILD)/libpith.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.o %.a,$^) -lm -o $@
# libFuzzer's targets, with a main of our own that replays files and changes of them.
$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz_%.o $(BUILD)/tests/fuzz_main.o $(BUILD)/libpith.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(filter %.o %.a,$^) -lm -o $@

test: $(RUN) $(test_programs) $(fuzz_programs) $(BUILD)/fixture $(BUILD)/no_bundle dist
	@BUILD=$(BUILD) RUN=./$(RUN) CC="$(CC)" MAKE="$(MAKE_COMMAND)" ENGINE_OBJECTS="$(call objects,$(ENGINE) $(TRAIN) $(TOOLS) run.c)" \
	    sh scripts/test.sh $(test_programs)

# CODE=0: without the checks of the code itself, which say the same of every build by one compiler.
check:
	$(MAKE) BUILD=build/san CFLAGS="-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	    LDFLAGS="-fsanitize=address,undefined" FEWER_TWINS=1 BRIEF=1 RUN=build/san/run CODE=0 test

FUZZ_SECONDS ?= 60
FUZZ_FLAGS = -g1 -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
fuzz:
	$(MAKE) BUILD=build/fuzz CC=clang NO_OPENMP=1 PORTABLE=1 CFLAGS="$(FUZZ_FLAGS) -fsanitize=fuzzer-no-link" \
	    LDFLAGS="$(FUZZ_FLAGS)" build/fuzz/libpith.a build/fuzz/fixture
	sh scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS) $(FUZZ_FLAGS)

# ---- the two files to copy -------------------------------------------------------------------------

dist: dist/pith.c dist/pith.h
dist/pith.c: scripts/amalgamate.sh $(ENGINE) $(HEADERS)
	@mkdir -p dist
	sh scripts/amalgamate.sh "$(VERSION)" $(ENGINE) > $@.new && mv $@.new $@
dist/pith.h: model.h
	@mkdir -p dist
	sed -e 's/^#\(ifndef\|define\) PITH_MODEL_H/#\1 PITH_H/' -e 's/^.. model\.h - /\/* pith.h - /' model.h > $@

# ---- the model that is built in: docs/TRAINING.md -----------------------------------------------------

STORY = build/story
STORY_MODEL = models/stories.gguf
story-model: $(RUN)
	@RUN="./$(RUN)" STORY="$(STORY)" STORY_MODEL="$(STORY_MODEL)" sh scripts/story.sh

# ---- the rest --------------------------------------------------------------------------------------

at = $(DESTDIR)$(PREFIX)
install: $(RUN)
	install -d "$(at)/bin" "$(at)/share/man/man1"
	install -m 755 "$(RUN)" "$(at)/bin/pith"
	install -m 644 scripts/pith.1 "$(at)/share/man/man1/pith.1"
# For other programs: the two files of dist, one of them compiled.
$(BUILD)/dist/libpith.a: dist/pith.c dist/pith.h
	@mkdir -p $(@D) && rm -f $@
	$(CC) $(ALL_CFLAGS) $(if $(filter -O2,$(CFLAGS)),-O3) -fPIC -c $< -o $(@D)/pith.o
	ar rcs $@ $(@D)/pith.o
install-lib: $(BUILD)/dist/libpith.a
	install -d "$(at)/include" "$(at)/lib/pkgconfig"
	install -m 644 dist/pith.h "$(at)/include/pith.h"
	install -m 644 $< "$(at)/lib/libpith.a"
	printf '%s\n' 'Name: pith' 'Description: Transformers on a CPU' 'Version: $(VERSION)' 'Cflags: -I"$(PREFIX)/include"' \
	    'Libs: -L"$(PREFIX)/lib" -lpith -lm $(OPENMP)' > "$(at)/lib/pkgconfig/pith.pc"
# Folders that are empty then go too.
uninstall:
	rm -f "$(at)/bin/pith" "$(at)/share/man/man1/pith.1" \
	    "$(at)/include/pith.h" "$(at)/lib/libpith.a" "$(at)/lib/pkgconfig/pith.pc"
	@for d in bin share/man/man1 share/man share include lib/pkgconfig lib ''; do \
	    rmdir "$(at)/$$d" 2>/dev/null || true; done

clean:
	rm -rf build dist run

.PHONY: test check fuzz story-model dist install install-lib uninstall clean
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
