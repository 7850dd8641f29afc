/* sampling.c - the flags of sampling that are texts: the order of the stages, and DRY's breakers. */
#include "tools.h"

#include <string.h>

/* "\\n" in an argument is a line end. */
static char unescaped(const char **p) {
    static const char from[] = "nrt\\\"'", to[] = "\n\r\t\\\"'";
    const char *at = **p == '\\' && (*p)[1] ? strchr(from, (*p)[1]) : NULL;
    *p += at ? 2 : 1;
    return at ? to[at - from] : (*p)[-1];
}

static int set_breakers(sampling_choice *c) {
    static const char *const usual[] = { "\n", ":", "\"", "*" };
    int n = c->breakers.n ? 0 : (int)(sizeof usual / sizeof *usual);
    size_t used = 0;
    for (int i = 0; i < n; i++) c->breaker[i] = usual[i];
    for (int i = 0; i < c->breakers.n; i++) {
        const char *p = c->breakers.item[i];
        if (!*p) return complain(USAGE, "--dry-sequence-breaker needs a text that is not empty, or none");
        if (!strcmp(p, "none")) {
            n = 0;
            continue;
        }
        if (strlen(p) >= sizeof c->text - used)
            return complain(USAGE, "--dry-sequence-breaker: more than %zu bytes in all", sizeof c->text - 1);
        c->breaker[n++] = c->text + used;
        while (*p) c->text[used++] = unescaped(&p);
        c->text[used++] = 0;
    }
    c->how.dry_breaker = c->breaker;
    c->how.n_dry_breaker = n;
    return 0;
}

int are_samplers(const char *letters, size_t room) {
    return strspn(letters, "edskypmxta") == strlen(letters) && strlen(letters) < room;
}

static int set_order(sampling_choice *c) {
    pith_error e = { 0, "" };
    const char *p = c->sequence;
    if (c->samplers && p) return complain(USAGE, "--samplers and --sampler-seq both say the order");
    if (c->how.mirostat && (c->samplers || p))
        return complain(USAGE, "--mirostat takes the place of %s", p ? "--sampler-seq" : "--samplers");
    if (c->samplers && pith_samplers(c->samplers, c->order, sizeof c->order, &e))
        return complain(USAGE, "--samplers: %s", e.text);
    if (p && !are_samplers(p, sizeof c->order))
        return complain(USAGE, "--sampler-seq is '%s', need letters of edskypmxta, at most %zu", p, sizeof c->order - 1);
    if (p) strcpy(c->order, p);
    if (c->samplers || p) c->how.order = c->order;
    if (c->how.adaptive_target >= 0 && !strchr(c->order, 'a'))
        return complain(USAGE, "--adaptive-target needs adaptive_p among --samplers");
    return 0;
}

int finish_sampling(sampling_choice *c) {
    int code = set_order(c), said = c->how.dry_breaker && !c->breakers.n;
    return code || said ? code : set_breakers(c);
}
