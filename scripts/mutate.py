r"""Makes one fault after the other in a copy of the tree and says which of them no test notices.

    python3 scripts/mutate.py [WORD ...]        only faults whose line below has one of the words

Each fault is a line: file @ tests that should notice @ text that is there @ text to put instead; \n is a
line's end. A test is NAME of tests/t_NAME.c, or cli for tests/cli.sh. What survives wants a test.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

FAULTS = r"""
base/bytes.c @ bytes @ n > c->left @ n > c->left + 1
base/bytes.c @ bytes @ a > SIZE_MAX / b @ a > SIZE_MAX / b + 1
base/bytes.c @ bytes @ c->bad = 1; @ c->bad = 0;
base/json.c @ json @ JSON_DEPTH = 64 @ JSON_DEPTH = 65
base/utf8.c @ pretokenize json @ *p == 0xed ? 0x9f @ *p == 0xed ? 0xbf
math/kernels.c @ order @ for (int half = LANES / 2; half > 0; half /= 2)\n        for (int i = 0; i < half; i++) s[i] += s[i + half]; @ for (int i = 1; i < LANES; i++) s[0] += s[i];
math/kernels.c @ kernels forward @ apart = half ? n_rot / 2 : 1 @ apart = half ? n_rot / 2 - 1 : 1
math/kernels.h @ session forward backward @ m.window <= position) s.first = position - m.window + 1 @ m.window <= position) s.first = position - m.window
math/encode.c @ encode @ (rest >= 0.5f) @ (rest > 0.5f)
math/encode.c @ encode @ r.min == -r.max @ 0
math/encode.c @ encode @ bad |= put_scale(block->d, d) @ put_scale(block->d, d)
math/fit.c @ encode @ m = none ? 0 : m; @ ;
math/fit.c @ encode @ && fabsf(m) <= 65504 @ && 1
math/fit.c @ encode @ w > 1e-6f ? w : 1e-6f @ 1
math/kernels.h @ quant @ u + 0x7fff + (u >> 16 & 1) @ u + 0x8000
text/pretokenize.c @ pretokenize tokens @ c == '`' || @ c == '\'' ||
text/added.c @ tokens tokenizer @ t->flags & PITH__RSTRIP && i >= white_end @ t->flags & PITH__LSTRIP && i >= white_end
formats/ggufvocab.c @ gguf_vocab tokens @ { "tekken", 1, 1, 0 } @ { "tekken", 0, 1, 0 }
formats/store.c @ safetensors gguf @ by_name(&n, &s->tensor[i - 1].name) == 0 @ by_name(&n, &s->tensor[i - 1].name) > 1 << 20
formats/write.c @ write vocab pretrain @ if (v->end[i] == v->eos) continue; @ if (v->end[i] != v->eos) continue;
families.c @ families golden @ 1 / sqrt((double)width) @ 1 / sqrt((double)width + 1)
experts.c @ forward golden families @ h->expert_norm ? -p[e] / sum : -p[e] @ -p[e] / sum
forward.c @ session many @ s->lost < s->position - s->n_slot_window) s->lost = s->position - @ s->lost < s->position - s->n_slot_window) s->lost = s->position - 1 -
session.c @ session lookup @ most = s->n_ctx - after; @ most = s->n_ctx - after + 1;
session.c @ session lookup @ n < s->n_batch ? n : s->n_batch - 1 @ n < s->n_batch ? n + 1 : s->n_batch - 1
session.c @ session lookup @ memcpy(s->logits, d->logits + (size_t)d->accepted @ memcpy(s->logits, d->logits + (size_t)(d->accepted - 1)
session.c @ session @ d->trust *= 2 @ d->trust *= 1
pass.c @ session many @ if (p->n_batch > p->n_ctx) p->n_batch = p->n_ctx; @ ;
session.c @ session @ same == n && same == s->position && same == s->logits_at @ 0
session.c @ golden @ int is_long = n_text > @ int is_long = n_text + 1 >
sampler.c @ sampler @ "general.sampling." gguf @ "general.sampled." gguf
candidates.c @ sampler @ x[i] > most) { @ x[i] >= most) {
generate.c @ generate cli @ left > most) most = left @ left > most) most = left - 1
generate.c @ generate @ g->n_token >= g->n_predict @ g->n_token > g->n_predict
generate.c @ generate @ held > tail && !ended ? held : tail @ held > tail ? held : tail
generate.c @ generate_many @ if (w->n_left > 1) rows -= w->n_row; @ ;
generate.c @ generate_many @ if (!passed) g[i]->ended @ if (0) g[i]->ended
chat.c @ chat @ if (ended && mark) end @ if (mark) end
sampler.c @ sampler @ isnan(s->logits[i]) ? -INFINITY : s->logits[i] @ s->logits[i]
candidates.c @ samplers @ sum > top_p : sum >= top_p @ sum > top_p : sum > top_p + 1e-3f
penalties.c @ samplers @ while (same < e && same < most && @ while (same < e &&
sampler.c @ samplers @ 2 * aim - d->sum @ aim + 0 * d->sum
candidates.c @ sampler @ coldest = 1e-5f @ coldest = 1e-38f
formats/open.c @ open @ if (opt->tokenizer) @ if (0)
run.c @ cli @ total < n_prompt - 1 @ total < n_prompt
tools/likelihood.c @ cli @ x[i] > x[t] || (x[i] == x[t] && i < t) @ x[i] > x[t] || (x[i] == x[t] && i > t)
tools/likelihood.c @ cli @ k->nll / log(2) / @ k->nll /
tools/score.c @ cli @ w.done = w.end; @ w.done = w.end - 1;
text/jinja.c @ jinja answers @ pith__json_is(key, "content") ? PITH__CONTENT @ pith__json_is(key, "value") ? PITH__CONTENT
train/qat.c @ qat @ else if (q.to) round_numbers @ else if (0) round_numbers
train/adapt.c @ qat @ else if (!tape->s->adapted.merged) pith__from_low(a) @ else pith__from_low(a)
lora.c @ qat @ i < by->n && !by->merged @ i < by->n
train/adamw.c @ qat @ pith__qat_round(p); @ ;
train/checkpoint.c @ qat @ if (!code) pith__qat_round(p); @ ;
train/fields.c @ examples @ w.f[F_PROMPT].p && w.f[F_COMPLETION].p @ w.f[F_PROMPT].p
train/fields.c @ examples @ if (has_system) put_message(w, "system", system); @ ;
train/fields.c @ answers @ instead && type != '[' @ type != '['
train/fields.c @ examples @ if (!code && !i) code = pith__fail(w->err, PITH_EDATA, "%s: %s is empty @ if (0) code = pith__fail(w->err, PITH_EDATA, "%s: %s is empty
train/fields.c @ examples @ (w->f[F_KWARGS].p && pith__json_raw(w->f[F_KWARGS]).n > 2) @ (w->f[F_KWARGS].p)
train/answers.c @ answers @ !memcmp(p, meta, 3) ? 3 : 0 @ !memcmp(p, meta, 3) ? 0 : 0
train/answers.c @ answers @ left && *p == ' '; @ 1;
train/answers.c @ answers @ w->from += skip; @ ;
train/answers.c @ answers @ (s->text[w.at] & 0xc0) == 0x80;) w.at++ @ 0;) w.at++
train/answers.c @ answers @ (marks_of(&s, at, i) & PITH_OF_MODEL) != 0 @ (marks_of(&s, at, i) & ANSWER) != 0
train/answers.c @ answers @ t == f->end[0] || @ 0 ||
train/answers.c @ answers @ t == f->end[1] || pith_is_end(f->m, t) @ t == f->end[1]
train/answers.c @ answers @ s->mark[first] & PITH_OF_ASIDE || @ 0 ||
train/answers.c @ answers @ if (marks & PITH__EMPTY_ANSWER) open = 1 @ if (0) open = 1
train/answers.c @ answers @ int from = open ? next : turn_start(f, s, at, r->token, i); @ int from = turn_start(f, s, at, r->token, i);
train/answers.c @ answers @ open && marks & PITH_FROM_DATA @ 0
train/answers.c @ answers @ t == f->end[1] || @ 0 ||
train/answers.c @ answers @ k < 2 && !common @ k < 2
train/answers.c @ answers @ if (marks_of(&s, at, i) & PITH_FROM_DATA) end = i; @ ;
train/answers.c @ answers @  || pith__thoughts_close(&thoughts) @ 
train/answers.c @ answers @ pith__white_at(piece.p, piece.n) < piece.n @ 1
train/answers.c @ answers @ if (counts[i] && ends_turn @ if (ends_turn
train/examples.c @ examples @ if (w->plan->keep_end) @ if (!w->plan->keep_end)
train/examples.c @ examples answers @ for (size_t i = 1; i < n; i++) label += counts[i]; @ for (size_t i = 0; i < n; i++) label += counts[i];
train/examples.c @ examples answers @ x->counts[w->n_token] = 0; @ ;
train/examples.c @ examples @ if (!has_bos) flags |= PITH_BOS; @ flags |= PITH_BOS;
train/examples.c @ examples @ end.n)) all.n -= end.n; @ end.n)) ;
train/examples.c @ examples @ if (v->eos >= 0) both.t[both.n++] = v->eos; @ ;
train/examples.c @ examples @ if (w->plan->prompts_too) same = 0; @ ;
train/examples.c @ answers @ if (!code && !w->plan->prompts_too) memset @ if (!code) memset
train/examples.c @ answers @ if (!code && differs) @ if (0)
train/examples.c @ answers @ if (same && i < r->n) r->from[i] |= PITH__EMPTY_ANSWER; @ if (i < r->n) r->from[i] |= PITH__EMPTY_ANSWER;
train/examples.c @ answers @ while (i < r->n && r->from[i] & PITH_OF_CONTENT) i++; @ ;
train/examples.c @ examples @ i < t->n && k == t->t[i] @ i < t->n
train/examples.c @ examples @ if (i == t->n) return PITH_OK; @ return PITH_OK;
train/examples.c @ examples @ (out > 0 && out < w->n) @ 1
train/examples.c @ examples @ if (!*n_train) *n_train = w->n; @ ;
train/examples.c @ examples @ pith__random_at(2, hash) < part * 0x1p64 @ pith__random_at(2, hash % 977) > part * 0x1p64
train/examples.c @ examples @ (size_t)parsed != n) note @ 0) note
train/examples.c @ examples @ e->counts[i + 1] ? @ e->counts[i] ?
train/examples.c @ examples @ pith__hash(pith__hash(n, t, n * sizeof *t), x->counts + w->n_token, n) @ pith__hash(n, t, n * sizeof *t)
train/examples.c @ pairs @ if (!memcmp(a.t, b.t, (size_t)from * sizeof *a.t)) @ if (0)
train/examples.c @ pairs @ at[0].hash = at[1].hash = @ at[0].hash =
train/examples.c @ pairs @ if (both && !equal) @ if (both)
train/examples.c @ pairs @ w->n = n, w->n_token @ w->n_token
train/fields.c @ pairs @ w.completion = F_CHOSEN + i; @ w.completion = F_CHOSEN;
train/pairs.c @ pairs @ if (n && n == least) n--; @ ;
train/pairs.c @ pairs @ n && a.p[n - 1] == ' ' ? n - 1 : n @ n
train/pairs.c @ pairs @ while (n + 1 < least && @ while (n < least &&
train/pairs.c @ pairs @ (type != '"' && type != '[' && type != '{') @ 1
train/preference.c @ preference @ case PITH__HINGE: *slope = x < 1 ? -p->beta @ case PITH__HINGE: *slope = x < 1 ? p->beta
train/preference.c @ preference @ -e / (1 - 2 * e) @ e / (1 - 2 * e)
train/preference.c @ preference @ to->slope_chosen -= p->sft @ to->slope_chosen += p->sft
train/preference.c @ preference @ reward_chosen > to->reward_rejected @ reward_chosen >= to->reward_rejected
train/preference.c @ preference @ return x > 0 ? log1p(exp(-x)) : log1p(exp(x)) - x @ return log(1 + exp(-x))
train/ppo.c @ ppo @ expm1(d) - d : -d @ expm1(d) - d : d
train/ppo.c @ ppo @ exp(d) @ d + 1
train/ppo.c @ ppo @ count > 1 ? count - 1 : 1 @ count
train/ppo.c @ ppo @ p->gamma * next - value @ p->gamma * value - value
train/ppo.c @ ppo @ p->score_behind ? e->n_value - 1 : e->n - 1 @ e->n - 1
train/ppo.c @ ppo @ other > loss ? @ other < loss ?
train/ppo.c @ ppo @ (rewards ? mean : 0) @ 0
train/ppo.c @ ppo @ (pith__clipped){ other, 0, 1 } @ (pith__clipped){ other, other, 1 }
train/ppo.c @ ppo @ (float)-c.slope; @ (float)c.slope;
tools/ppo_batch.c @ ppo_run @ if (known) memcpy @ if (0) memcpy
tools/ppo_batch.c @ ppo_run @ (r->truncated ? (double)p->o->penalty : 0) @ (double)p->o->penalty
tools/ppo_batch.c @ ppo_run @ if (!p->base) pith__step_adapter(t->step, NULL); @ ;
tools/ppo.c @ ppo_run @ step > 0 && (p->o->rollouts || step % p->steps) @ 0
tools/ppo.c @ ppo_run @ .detached = !strcmp(p->o->value_gradient, "head") @ .detached = 1
tools/reward_model.c @ reward_model @ if (!ended) continue; @ continue;
lora.c @ reward_model @ k->type != PITH__STRING || pith__str_is(k->s, print) @ 1
tools/grpo.c @ grpo @ r->base ? r->base : s->t.m, s->form @ s->t.m, s->form
train/value.c @ value @ t->rows != 1 || @ 
train/policy.c @ policy @ equal ? 0 : (r[i] - mean) / by @ (r[i] - mean) / by
train/policy.c @ policy @ sum / (double)(n - 1) @ sum / (double)n
train/policy.c @ policy @ is_high = ratio > high && a > 0 @ is_high = ratio > high
train/policy.c @ policy @ is_low = ratio < low && a < 0 @ is_low = ratio < low
train/policy.c @ policy @ ratio * (kl + *slope) @ ratio * *slope
train/policy.c @ policy @ * p->max_length); /* Liu @ * n); /* Liu
train/policy.c @ policy @ if (n < 1) return 0; @ ;
tools/rollouts.c @ rollouts @ c->g.ended != PITH_END @ c->g.ended != PITH_LIMIT
tools/rollouts.c @ rollouts @ pith__random_at(pith__random_at(plan->seed, (uint64_t)i), (uint64_t)k) @ pith__random_at(plan->seed, (uint64_t)k)
tools/rollouts.c @ rollouts @ n_vocab, s->plan->temperature, c->g.token @ n_vocab, 0, c->g.token
tools/rollout_rows.c @ rollout_rows @ memcmp(last->t, x->t @ memcmp(x->t, x->t
tools/grpo.c @ grpo @ k >= x->n_prompt - 1 @ k >= x->n_prompt
tools/grpo.c @ grpo @ b.n_token *= r->s.t.batch_size / micro @ b.n_token *= 1
tools/grpo.c @ grpo @ step % grpo_steps_each(r) == 0) return code;\n    snprintf(name @ 1) return code;\n    snprintf(name
tools/experience.c @ grpo @ r->base ? r->base : t->m @ t->m
tools/experience.c @ grpo @ keep_lines(r->o->dump, batches * n, 0) @ keep_lines(r->o->dump, 0, 0)
train/loss.c @ step @ j->scale * j->s->slope[at] @ j->scale
train/packs.c @ examples @ (t->room[2 * i] < n) @ (t->room[2 * i] <= n)
train/packs.c @ examples @ max_length > x->longest ? max_length : x->longest @ x->longest
tools/show.c @ examples @ packs ? packs->example[k] : k @ k
train/dataset.c @ examples @ empty || type == '{' @ type == '{'
train/experts.c @ backward step @ pith__d_project(b, dx, b->d.route, &w->router, x, b->n, 1) @ pith__d_project(b, dx, b->d.route, &w->router, x, b->n, 0)
train/loss.c @ backward step @ c = h->logit_softcap @ c = h->attn_softcap
export.c @ export @ memcmp(p->a, first->a @ 0 && memcmp(p->a, first->a
export.c @ export @ if (!m->shared) k0 += n_k; @ k0 += 0;
export.c @ export @ ends[k].whole = 0; @ ;
export.c @ export @ m->r < p->r @ m->r > p->r
export.c @ export @ ? exact : (double)near @ ? (double)near : (double)near
formats/hfwrite.c @ merge_folders @ i < 2 ? top : pith__json_get(top, "text_config") @ top
formats/hfwrite.c @ merge_folders @ at[k - 1].p > j.p @ 0
formats/hfwrite.c @ export @ qsort(order, n, sizeof *order, out_by_name); @ ;
formats/safetensors.c @ merge @ !wrong && pith__json_is(key, "pith.merged") @ 0
formats/write.c @ merge @ t->format == o->to && !t->scale @ 0
formats/write.c @ quantize @ if (n) qsort(key, n, sizeof *key, key_order); @ ;
formats/write.c @ quantize @ !s->key[i].gguf_type || !is_layout( @ !is_layout(
formats/pieces.c @ quantize @ (made != last && n_pair[made]) @ 0
formats/pieces.c @ quantize @ if (n != n_pair[i]) return 0; @ ;
merge.c @ quantize @ j.sum[i].wrong && g->plan->finite @ 0
merge.c @ quantize @ t->importance ? t->importance @ 0 ? t->importance
folderweights.c @ quantize @ t->way < TURNED && !fits_in @ 0 && !fits_in
folderweights.c @ quantize @ t.change = LESS_ONE @ t.change = NOTHING
folderweights.c @ models @ t.change = LOG @ t.change = NOTHING
folderweights.c @ models @ return *which = (int)(i % 2), i / 2 @ return *which = (int)(i % 2), i
requant.c @ quantize @ return i < n / 16; @ return i < n / 8;
requant.c @ quantize @ c->n_expert == 8 && role == ROLE_O @ 0
requant.c @ quantize @ bits(from) >= 8 @ bits(from) >= 4
folderrope.c @ quantize @ round((1 + 3 * b) / turns) @ round((1 + 2 * b) / turns)
folderconfig.c @ quantize @ n_plain && !(c->is->says @ 0 && !(c->is->says
math/fit.c @ quantize @ low = g->guesses; low >= -g->inside; low-- @ low = -g->inside; low <= g->guesses; low++
merge.c @ merge @ if (fabs((double)y) > fabs(x)) u--; @ ;
merge.c @ merge @ halves ? round_to_odd(d[c]) @ 0 ? round_to_odd(d[c])
merge.c @ merge_folders @ learned == !g->gguf @ 1
merge.c @ merge @ out0 += p->row0 @ out0 += 0
merge.c @ merge @ computed && !f->encode ? @ 0 ?
merge.c @ merge @ p->merged && pith__str_is(k.name, "pith.merged") @ 0
merged.c @ merge @ room[pith__row_where(a->model, w, 0, r)] @ room[r]
merge.c @ merge_folders merge @ w != &g->m->head @ 1
base/os.c @ merge_folders @ while (n > 1 && path[n - 1] == '/') n--; @ ;
train/gather.c @ gather @ m->store.tensor[t - m->store.tensor].data = to; @ ;
train/drift.c @ drift @ p * (log_p - ((double)b[k] - all_b)) @ exp((double)b[k] - all_b) * (log_p - ((double)b[k] - all_b))
train/drift.c @ drift @ pith_rewind(d->plan->b, 0); @ ;
train/drift.c @ drift @ r->kl != r->kl) s->most_kl @ 0) s->most_kl
train/recall.c @ recall @ seen < n / 2; @ seen < (n + 1) / 2;
train/recall.c @ recall forget @ != e->target[i + k]) return count; @ != e->target[i + k]) continue;
tools/curves.c @ curves @ step <= c->b[c->n - 1].last) return; @ step < c->b[c->n - 1].last) return;
tools/curves.c @ curves @ c->n = BUCKETS / 2, c->per *= 2; @ c->n = BUCKETS / 2;
tools/probes.c @ probes @ start < last && isnan(start->forget_loss) @ 0
tools/rewards.c @ rewards @ "\\boxed{")); to = from) @ "\\boxed{")); to = p)
tools/rewards.c @ rewards @ if (*p == '\\') p++; @ if (0) p++;
tools/rewards.c @ rewards @ behind == 3 && digits && (again || digits <= 3) @ behind == 3 && digits
tools/rewards.c @ rewards @ x.d.minus == y.d.minus && @ 1 &&
tools/rewards.c @ rewards @ x.bottom && y.bottom && @ 1 &&
tools/rewards.c @ rewards @ if (type == '"' && s->n) return 0; @ if (type == '"') return 0;
tools/rewards.c @ rewards @ output_bytes(o, " ", 1), n++; @ output_bytes(o, s.p + n, 1), n++;
tools/program.c @ rewards @ posix_spawnattr_setsigdefault(&how, &usual); @ ;
tools/program.c @ rewards @ fcntl(fd[i], F_SETFD, FD_CLOEXEC); @ ;
tools/program.c @ rewards @ setenv("PYTHONUNBUFFERED", "1", 0); @ ;
tools/program.c @ rewards @ kill(-p->pid, SIGKILL); @ kill(p->pid, SIGKILL);
tools/program.c @ rewards @ if (stopped()) return stopped(); @ ;
tools/program.c @ rewards @ strlen(line) == len && @ 1 &&
text/pattern.c @ rewards @ if (r->whole) { @ if (0) {
train/adamw.c @ step pretrain @ lr * a->weight_decay @ a->weight_decay
"""


def run(command, cwd):
    return subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def notices(tests, tree):
    """The name of the first test that notices the fault in tree, or None."""
    for name in tests:
        target = ["run", "build/fixture"] if name == "cli" else [f"build/t_{name}"]
        if run(["make", "-s", "-j2", *target], tree):
            return "the compiler"
        if run(["sh", "tests/cli.sh", "./run", "build/fixture"] if name == "cli" else target, tree):
            return name
    return None


def main(words):
    root = pathlib.Path(__file__).resolve().parent.parent
    tree = pathlib.Path(tempfile.mkdtemp(prefix="pith-mutate-", dir=root.parent))  # ../shared is there too
    survived = total = 0
    try:
        for name in subprocess.check_output(["git", "ls-files"], cwd=root, text=True).split("\n")[:-1]:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, tree / name)
        for line in FAULTS.strip().split("\n"):
            file, tests, old, new = line.replace("\\n", "\n").split(" @ ")
            if words and not any(word in line for word in words):
                continue
            text = (tree / file).read_text()
            if old not in text:
                sys.exit(f"{file}: no longer has '{old}'")
            total += 1
            (tree / file).write_text(text.replace(old, new, 1))
            by = notices(tests.split(), tree)
            survived += by is None
            print(f"{'noticed by ' + by if by else 'SURVIVED':24} {file}: {old.splitlines()[0]} -> {new}", flush=True)
            (tree / file).write_text(text)
    finally:
        shutil.rmtree(tree)
    print(f"{total - survived} of {total} noticed")
    return survived > 0


sys.exit(main(sys.argv[1:]))
