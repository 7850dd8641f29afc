/* types.c - flags whose value is the name of a number format, or of a mix of them. */
#include "verbs.h"

int mix_named(const char *asked, const char *name, const pith__mix **mix) {
    char known[400];
    *mix = pith__mix_named(name);
    if (*mix) return 0;
    return complain(USAGE, "%s is '%s', need one of:%s", asked, name, pith__names(known, sizeof known, pith__mix_name));
}

int format_named(const char *asked, const char *name, const pith__format **f) {
    *f = name ? pith__format_named(name) : NULL;
    if (!name || (*f && (*f)->encode)) return 0;
    return complain(USAGE, "%s is '%s', need a type such as q8_0, q6_k, f16", asked, name);
}
