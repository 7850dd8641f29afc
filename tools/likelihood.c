/* likelihood.c - how likely tokens are by their logits, and the sums over many of them. */
#include "verbs.h"

#include <math.h>

double log_total(const float *x, int n) {
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    for (int i = 0; i < n; i++) sum += exp(x[i] - max);
    return max + log(sum);
}

double logprob_of(const float *x, int n, pith_token t, int *rank) {
    *rank = 0;
    for (int i = 0; i < n; i++) *rank += x[i] > x[t] || (x[i] == x[t] && i < t);
    return x[t] - log_total(x, n);
}

/* Bits a byte are left out where the bytes are not known: tokens without a vocabulary. */
void print_sums(const sums *k) {
    double n = k->n_token ? (double)k->n_token : 1;
    fprintf(stderr, "tokens %zu  nll %.6f  perplexity %.4f", k->n_token, k->nll / n,
            exp(k->nll / n));
    if (k->n_byte || !k->n_token)
        fprintf(stderr, "  bits/byte %.4f", k->nll / log(2) / (k->n_byte ? (double)k->n_byte : 1));
    fputc('\n', stderr);
}
