/* qat.c - --qat: training for the number formats of the file that is written in the end.
 *
 * Which format each matrix gets is what run quantize says for the same type; only that the embedding and the output
 * matrix stay floats here where no flag says otherwise. */
#include "trainer.h"

#include <string.h>

/* The file that is written in the end. */
static int file_of(const train_options *o, const pith_model *m, pith__requant *as) {
    const pith__format *f32 = pith__format_of(PITH__F32);
    *as = (pith__requant){ .m = m, .requantize = 1 };
    int code = mix_named("--qat", o->qat, &as->mix);
    if (!code) code = format_named("--token_embedding_type", o->embedding_type, &as->embedding);
    if (!code) code = format_named("--output_tensor_type", o->output_type, &as->output);
    if (!as->embedding) as->embedding = f32;
    if (!as->output) as->output = f32;
    return code;
}

int check_qat(const train_options *o) {
    pith__requant as;
    const char *flag_name = o->qat_only ? "--qat_train_only_quantized" : o->embedding_type ? "--token_embedding_type" :
                            o->output_type ? "--output_tensor_type" : NULL;
    if (o->qat) return file_of(o, NULL, &as);
    return flag_name ? complain(USAGE, "%s is of no use without --qat", flag_name) : 0;
}

/* Matrix i of those that are rounded, or NULL. */
static const pith__format *format_at(const pith__params *p, size_t i) {
    return i < p->n_param ? p->param[i].to : p->rounded[i - p->n_param].to;
}

/* "14 matrices to Q4_0, 1 matrix to Q6_K" */
static void say_rounded(const trainer *t) {
    const pith__params *p = &t->params;
    const char *between = "";
    size_t all = p->n_param + p->n_rounded;
    fprintf(stderr, "rounded      ");
    for (size_t i = 0; i < all; i++) {
        const pith__format *to = format_at(p, i);
        size_t n = 0, before = 0;
        for (size_t k = 0; k < all; k++) {
            before += k < i && format_at(p, k) == to;
            n += format_at(p, k) == to;
        }
        if (!to || before) continue;
        fprintf(stderr, "%s%zu matri%s to %s", between, n, n > 1 ? "ces" : "x", to->name);
        between = ", ";
    }
    fprintf(stderr, "%s\n", *between ? " before every pass" : "nothing: the type has no blocks");
}

int trainer_qat(trainer *t, const pith_adapter *a) {
    pith_error e = { 0, "" };
    if (!t->o->qat) return 0;
    pith__requant as;
    int code = file_of(t->o, t->m, &as);
    if (code) return code;
    if (a ? pith__qat_adapt(&t->params, t->m, a, &as, &e) : pith__qat_begin(&t->params, t->m, &as, t->o->qat_only, &e))
        return report(&e);
    if (!t->params.n_param)
        return complain(USAGE, "--qat_train_only_quantized: --qat %s leaves nothing to learn", t->o->qat);
    say_rounded(t);
    return 0;
}

int trainer_rounded(const trainer *t, char *text, size_t room) {
    pith__requant as;
    pith__str mix = { NULL, 0 };
    *text = 0;
    if (!t->o->qat) return 0;
    int code = file_of(t->o, t->m, &as);
    for (int i = 0; !code && (mix = pith__mix_name(i)).n; i++)
        if (pith__mix_named(mix.p) == as.mix) break;
    if (!code) snprintf(text, room, "%s, embedding %s, output matrix %s%s", mix.p, as.embedding->name, as.output->name,
                        t->o->qat_only ? ", and nothing else learns" : "");
    return code;
}

int trainer_write_rounded(trainer *t, const pith_adapter *a, pith__str chat_template, const char *path) {
    pith_error e = { 0, "" };
    pith__progress watch = progress_of(&t->shown);
    pith__requant as;
    int code = file_of(t->o, t->m, &as);
    if (code) return code;
    const pith__adapted by = { .n = a != NULL, .of = { { a, 1 } } };
    if (!a) as.learned = pith__learned_tensors(&t->params, &t->arena);
    if (!a && !as.learned) return complain(FAILED, "%s: no memory to write it", path);
    if (a) as.by = &by;
    else as.n_learned = t->params.n_param;
    as.chat_template = chat_template, as.progress = &watch;
    return pith__requant_gguf(&as, path, &e) ? report(&e) : 0;
}
