/* hfgemma4.c - config.json of Gemma 4, whose layers differ, becomes the keys of a GGUF file.
 *
 * What the fields mean is written in transformers' configuration_gemma4.py. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

typedef struct {         /* a size of each layer */
    int32_t *of;         /* (n_layer) */
    int window, full;    /* of layers with a window, and of the others, where nothing says otherwise */
} layer_sizes;

static int new_sizes(pith__hf *c, layer_sizes *s, const uint8_t *slides, int window, int full) {
    *s = (layer_sizes){ pith__arena_new(&c->f->s->arena, (size_t)c->f->n_layer, sizeof *s->of), window, full };
    if (!s->of) pith__hf_added(c, PITH_EMEMORY);
    for (int l = 0; s->of && l < c->f->n_layer; l++) s->of[l] = slides[l] ? window : full;
    return s->of != NULL;
}

/* {"5": {"head_dim": 512, "num_key_value_heads": 1}}: what transformers 5 writes instead of the "global" fields. */
static void read_overrides(pith__hf *c, layer_sizes *dim, layer_sizes *kv) {
    static const char field[] = "per_layer_config";
    pith__json it = pith__hf_get(c->at, field), key, value;
    while (pith__json_next(&it, &key, &value)) {
        pith__str digits = { NULL, 0 };
        int l = 0;
        if (pith__json_string(key, &c->f->s->arena, &digits) || !digits.n || digits.n > 4) l = -1;
        for (size_t i = 0; l >= 0 && i < digits.n; i++)
            l = digits.p[i] >= '0' && digits.p[i] <= '9' ? 10 * l + digits.p[i] - '0' : -1;
        if (l < 0 || l >= c->f->n_layer || pith__json_type(value) != '{') {
            pith__hf_wrong(c, key, PITH_EFORMAT, field, "an object for each of some layers");
            return;
        }
        dim->of[l] = pith__hf_int(c, value, "head_dim", 1, dim->of[l]);
        kv->of[l] = pith__hf_int(c, value, "num_key_value_heads", 1, kv->of[l]);
        pith__json inner = value, name;
        while (pith__json_next(&inner, &name, &value))
            if (!pith__json_is(name, "head_dim") && !pith__json_is(name, "num_key_value_heads"))
                pith__hf_wrong(c, value, PITH_EARCH, field, "head_dim and num_key_value_heads only");
    }
}

/* Layers of a kind have heads of one size: GGUF has two keys for it. */
static void put_head_sizes(pith__hf *c, const layer_sizes *dim, const uint8_t *slides) {
    int size[2] = { 0, 0 };
    for (int l = 0; l < c->f->n_layer; l++) {
        int *of_kind = &size[slides[l] != 0];
        if (*of_kind && *of_kind != dim->of[l])
            pith__hf_wrong(c, pith__hf_get(c->at, "per_layer_config"), PITH_EARCH, "per_layer_config",
                           "one head_dim for all layers of a kind");
        *of_kind = dim->of[l];
    }
    c->head_dim = size[0] ? size[0] : size[1];
    pith__hf_put_int(c, "attention.key_length", c->head_dim);
    pith__hf_put_int(c, "attention.value_length", c->head_dim);
    if (!size[1]) return;
    pith__hf_put_int(c, "attention.key_length_swa", size[1]);
    pith__hf_put_int(c, "attention.value_length_swa", size[1]);
    pith__hf_put_int(c, "rope.dimension_count_swa", size[1]);
}

/* The last layers see keys and values of earlier ones; their networks may be twice as wide. */
static void put_shared(pith__hf *c) {
    int n = c->f->n_layer, shared = pith__hf_int(c, c->at, "num_kv_shared_layers", 0, 0);
    int n_ff = pith__hf_int(c, c->at, "intermediate_size", 1, 9216), wide = pith__hf_bool(c, c->at, "use_double_wide_mlp", 0);
    if (shared >= n || n_ff > INT32_MAX / 2)
        pith__hf_wrong(c, pith__hf_get(c->at, "num_kv_shared_layers"), PITH_EFORMAT, "num_kv_shared_layers",
                       "less than num_hidden_layers");
    int32_t *ff = c->code ? NULL : pith__arena_new(&c->f->s->arena, (size_t)n, sizeof *ff);
    if (!ff) { pith__hf_added(c, PITH_EMEMORY); return; }
    for (int l = 0; l < n; l++) ff[l] = wide && l >= n - shared ? 2 * n_ff : n_ff;
    pith__hf_put_ints(c, "feed_forward_length", ff);
    pith__hf_put_int(c, "attention.shared_kv_layers", shared);
}

/* transformers has a default for the angles; nobody has published a file without them. */
static void check_rotation(pith__hf *c) {
    pith__json rope = pith__hf_get(c->at, "rope_parameters");
    if (pith__json_type(rope) != '{')
        pith__hf_wrong(c, rope, PITH_EFORMAT, "rope_parameters", "full_attention and sliding_attention");
}

/* Every token sees those before it, in what is text: "vision" is about images. */
static void check_direction(pith__hf *c) {
    pith__json both = pith__hf_get(c->at, "use_bidirectional_attention");
    if (pith__json_type(both) && pith__json_type(both) != 'f' && !pith__json_is(both, "vision"))
        pith__hf_wrong(c, both, PITH_EARCH, "use_bidirectional_attention", "null or vision");
}

PITH_SHARED void pith__hf_gemma4(pith__hf *c, const uint8_t *slides) {
    pith__json at = c->at;
    layer_sizes dim, kv;
    int n_kv = pith__hf_int(c, at, "num_key_value_heads", 1, 4), same = pith__hf_bool(c, at, "attention_k_eq_v", 0);
    int wide_kv = same ? pith__hf_int(c, at, "num_global_key_value_heads", 1, n_kv) : n_kv, narrow = pith__hf_int(c, at, "head_dim", 1, 256);
    int has_overrides = pith__json_type(pith__hf_get(at, "per_layer_config")) != 0;
    int wide = has_overrides ? narrow : pith__hf_int(c, at, "global_head_dim", 1, 512);
    if (slides[c->f->n_layer - 1])
        pith__hf_wrong(c, pith__hf_get(at, "layer_types"), PITH_EARCH, "layer_types", "full_attention of the last layer");
    check_rotation(c);
    check_direction(c);
    if (same && pith__hf_bool(c, at, "attention_bias", 0)) /* values would be keys with their bias */
        pith__hf_wrong(c, pith__hf_get(at, "attention_bias"), PITH_EARCH, "attention_bias", "false where attention_k_eq_v is true");
    if (!new_sizes(c, &dim, slides, narrow, wide) || !new_sizes(c, &kv, slides, n_kv, has_overrides ? n_kv : wide_kv)) return;
    read_overrides(c, &dim, &kv);
    put_head_sizes(c, &dim, slides);
    pith__hf_put_ints(c, "attention.head_count_kv", kv.of);
    put_shared(c);
    pith__hf_put_int(c, "embedding_length_per_layer_input", pith__hf_int(c, at, "hidden_size_per_layer_input", 0, 256));
    pith__hf_added(c, pith__store_add_int(c->f->s, "pith.values_are_keys", same));
    if (!pith__hf_bool(c, at, "enable_moe_block", 0)) return;
    pith__hf_put_int(c, "expert_count", pith__hf_int(c, at, "num_experts", 1, 0));
    pith__hf_put_int(c, "expert_used_count", pith__hf_int(c, at, "top_k_experts", 1, 0));
    pith__hf_put_int(c, "expert_feed_forward_length", pith__hf_int(c, at, "moe_intermediate_size", 1, 0));
}
