/* jinja_format.c - text from patterns, as Python does it: "%5.1f" % x, "{:>8}".format(x), strftime(). */
#include "jinja.h"

#include <string.h>

typedef struct { /* how one value is to be written */
    pith__jvalue fill; /* a string of one character */
    char align;        /* < > ^ =, or 0: as the type likes it */
    char sign;         /* + - or blank */
    char type;         /* d, s, f, ..., or 0 */
    char group;        /* , or _ between thousands; or 0 */
    int alternate, width, precision; /* precision -1: none */
} jinja_spec;

/* ---- one value ------------------------------------------------------------------------------------- */

static void jinja_put_padded(pith__jrun *r, pith__jbuffer *b, const jinja_spec *s, pith__jvalue text, size_t sign) {
    size_t length = pith__j_length(text.as.s), width = s->width > 0 ? (size_t)s->width : 0;
    size_t pad = width > length ? width - length : 0;
    size_t left = s->align == '>' || s->align == '=' ? pad : s->align == '^' ? pad / 2 : 0;
    if (s->align == '=') pith__j_put_part(r, b, text.as.s, 0, sign);
    for (size_t i = 0; i < left && !r->code; i++) pith__j_put_value(r, b, s->fill);
    if (s->align == '=') pith__j_put_part(r, b, text.as.s, sign, text.as.s->n - sign);
    else pith__j_put_value(r, b, text);
    for (size_t i = left; i < pad && !r->code; i++) pith__j_put_value(r, b, s->fill);
}

static size_t jinja_based(uint64_t v, unsigned base, int upper, char *to) {
    char back[65];
    size_t n = 0, m = 0;
    do back[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[v % base], v /= base; while (v);
    while (n) to[m++] = back[--n];
    return m;
}

static void jinja_group(char *s, size_t n, char group, char *to) { /* 1234567.5 -> 1,234,567.5 */
    size_t whole = 0, m = 0;
    while (whole < n && s[whole] >= '0' && s[whole] <= '9') whole++;
    for (size_t i = 0; i < n; i++) {
        if (i && i < whole && (whole - i) % 3 == 0) to[m++] = group;
        to[m++] = s[i];
    }
    to[m] = 0;
}

static void jinja_put_digits(pith__jrun *r, pith__jbuffer *b, jinja_spec s, int minus, char *digits, uint8_t mark) {
    char grouped[600], text[620];
    if (s.group) jinja_group(digits, strlen(digits), s.group, grouped);
    int prefix = s.alternate && memchr("xXob", s.type, 4);
    const char *sign = minus ? "-" : s.sign == '+' ? "+" : s.sign == ' ' ? " " : "";
    snprintf(text, sizeof text, "%s%s%.1s%s", sign, prefix ? "0" : "", prefix ? &s.type : "",
             s.group ? grouped : digits);
    if (!s.align) s.align = '>';
    jinja_put_padded(r, b, &s, pith__j_text(r, text, strlen(text), mark), strlen(sign) + (prefix ? 2 : 0));
}

static void jinja_put_float(pith__jrun *r, pith__jbuffer *b, jinja_spec s, double f, uint8_t mark) {
    char to[400], pattern[16];
    int digits = s.precision < 0 ? 6 : s.precision;
    if (digits > 80) {
        pith__j_fail(r, "a precision of %d, need at most 80", digits);
        return;
    }
    double size = f < 0 ? -f : f;
    if (!(f - f == 0)) {
        strcpy(to, f != f ? "nan" : "inf");
        size = 0;
    } else if (s.type == 'f' || s.type == 'F' || s.type == '%') {
        size_t n = pith__j_fixed(s.type == '%' ? 100 * size : size, digits, to);
        if (s.type == '%') strcpy(to + n, "%");
    } else {
        snprintf(pattern, sizeof pattern, "%%%s.*%c", s.alternate ? "#" : "", s.type ? s.type : 'g');
        snprintf(to, sizeof to, pattern, digits, size);
        for (char *p = to; *p; p++)
            if (!strchr("+-eE", *p) && (*p < '0' || *p > '9')) *p = '.'; /* the point of any locale */
    }
    jinja_put_digits(r, b, s, f < 0, to, mark);
}

static void jinja_put_int(pith__jrun *r, pith__jbuffer *b, jinja_spec s, int64_t i, uint8_t mark) {
    char to[80];
    uint64_t v = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned base = s.type == 'x' || s.type == 'X' ? 16 : s.type == 'o' ? 8 : s.type == 'b' ? 2 : 10;
    size_t n = jinja_based(v, base, s.type == 'X', to);
    to[n] = 0;
    jinja_put_digits(r, b, s, i < 0, to, mark);
}

static void jinja_put_text(pith__jrun *r, pith__jbuffer *b, jinja_spec s, pith__jvalue text) {
    if (r->code) return;
    if (s.precision >= 0) text = pith__j_part(r, text.as.s, 0, pith__j_offset(text.as.s, (size_t)s.precision));
    if (!s.align) s.align = '<';
    if (!r->code) jinja_put_padded(r, b, &s, text, 0);
}

static void jinja_put_character(pith__jrun *r, pith__jbuffer *b, jinja_spec s, pith__jvalue v) {
    char to[4];
    if (v.type != PITH__T_INT || v.as.i < 0 || v.as.i > 0x10ffff) {
        pith__j_fail(r, "%%c of a %s, need a character", pith__j_type(v));
        return;
    }
    jinja_put_text(r, b, s, pith__j_text(r, to, pith__utf8_write((uint32_t)v.as.i, to), v.mark));
}

/* ---- "..." % values -------------------------------------------------------------------------------- */

typedef struct {
    const pith__jstr *s;
    size_t at;
    pith__jvalue args;
    size_t used; /* of a tuple, or 1: the one value was */
} jinja_pattern;

static pith__jvalue jinja_next_argument(pith__jrun *r, jinja_pattern *p) {
    size_t n = p->args.type == PITH__T_TUPLE ? p->args.as.list->n : 1;
    if (p->used >= n) return pith__j_fail(r, "more %%... in a pattern than values for them");
    return p->args.type == PITH__T_TUPLE ? p->args.as.list->v[p->used++] : (p->used++, p->args);
}

static int jinja_pattern_int(pith__jrun *r, const pith__jstr *s, size_t *at) {
    int v = 0;
    for (; *at < s->n && s->p[*at] >= '0' && s->p[*at] <= '9'; ++*at)
        if (v < 100000) v = 10 * v + (s->p[*at] - '0');
    if (v >= 100000) pith__j_fail(r, "a width of %d or more in a pattern, need less than 100000", v);
    return v;
}

static int jinja_pattern_size(pith__jrun *r, jinja_pattern *p) {
    if (p->at >= p->s->n || p->s->p[p->at] != '*') return jinja_pattern_int(r, p->s, &p->at);
    p->at++;
    pith__jvalue v = jinja_next_argument(r, p);
    return v.type == PITH__T_INT && v.as.i > -100000 && v.as.i < 100000 ? (int)v.as.i : 0;
}

static void jinja_percent_value(pith__jrun *r, pith__jbuffer *b, jinja_spec s, pith__jvalue v) {
    double f = 0;
    if (r->code) return;
    if (memchr("sra", s.type, 3)) {
        pith__jbuffer *text = pith__j_buffer(r);
        if (s.type == 's') pith__j_put_value(r, text, v);
        else pith__j_put_repr(r, text, v);
        if (s.align != '<') s.align = '>';
        s.fill = pith__j_text(r, " ", 1, 0);
        jinja_put_text(r, b, s, pith__j_done(r, text));
    } else if (s.type == 'c') {
        if (v.type == PITH__T_STR && pith__j_length(v.as.s) == 1) jinja_put_text(r, b, s, v);
        else jinja_put_character(r, b, s, v);
    } else if (!pith__j_number(v, &f)) {
        if (pith__j_defined(r, v)) pith__j_fail(r, "%%%c of a %s, need a number", s.type, pith__j_type(v));
    } else if (memchr("eEfFgG", s.type, 6)) {
        jinja_put_float(r, b, s, f, v.mark);
    } else if (v.type == PITH__T_FLOAT && (memchr("xXo", s.type, 3) || !(f > -9e18 && f < 9e18))) {
        pith__j_fail(r, "%%%c of a float, need an integer", s.type);
    } else {
        if (memchr("iu", s.type, 2)) s.type = 'd';
        jinja_put_int(r, b, s, v.type == PITH__T_FLOAT ? (int64_t)f : v.type == PITH__T_BIG ? INT64_MAX : v.as.i,
                      v.mark);
    }
}

static pith__jvalue jinja_percent_key(pith__jrun *r, jinja_pattern *p) { /* behind "%(" */
    size_t from = ++p->at;
    while (p->at < p->s->n && p->s->p[p->at] != ')') p->at++;
    if (p->at == p->s->n || p->args.type != PITH__T_DICT)
        return pith__j_fail(r, "%%(name) in a pattern, need a dictionary");
    const pith__jstr key = { .p = p->s->p + from, .n = p->at++ - from };
    const pith__jvalue *v = pith__j_get_named(p->args.as.dict, &key);
    return v ? *v : pith__j_fail(r, "there is no value for %%(%.*s)", pith__j_shown(&key), key.p);
}

static void jinja_percent_one(pith__jrun *r, pith__jbuffer *b, jinja_pattern *p) { /* behind '%' */
    const pith__jstr *t = p->s;
    jinja_spec s = { .precision = -1, .fill = pith__j_text(r, " ", 1, 0) };
    pith__jvalue v = { 0 };
    if (p->at < t->n && t->p[p->at] == '%') {
        pith__j_put_part(r, b, t, p->at++, 1);
        return;
    }
    if (p->at < t->n && t->p[p->at] == '(') v = jinja_percent_key(r, p);
    for (; p->at < t->n && t->p[p->at] && strchr("#0- +", t->p[p->at]); p->at++) {
        char flag = t->p[p->at];
        if (flag == '-') s.align = '<';
        else if (flag == '#') s.alternate = 1;
        else if (flag != '0') s.sign = s.sign == '+' ? '+' : flag;
        else if (!s.align) s.align = '=', s.fill = pith__j_text(r, "0", 1, 0);
    }
    s.width = jinja_pattern_size(r, p);
    if (s.width < 0) s.align = '<', s.width = -s.width;
    if (s.align == '<') s.fill = pith__j_text(r, " ", 1, 0);
    if (p->at < t->n && t->p[p->at] == '.') p->at++, s.precision = jinja_pattern_size(r, p);
    while (p->at < t->n && t->p[p->at] && strchr("hlL", t->p[p->at])) p->at++;
    if (p->at >= t->n || !t->p[p->at] || !strchr("diouxXeEfFgGcrsa", t->p[p->at])) {
        pith__j_fail(r, "a pattern with a '%%' that nothing known follows");
        return;
    }
    s.type = t->p[p->at++];
    if (v.type == PITH__T_ABSENT) v = jinja_next_argument(r, p);
    if (!r->code && t->safe) v = v.type == PITH__T_STR ? pith__j_escape(r, v) : v;
    jinja_percent_value(r, b, s, v);
}

PITH_SHARED pith__jvalue pith__j_percent(pith__jrun *r, pith__jvalue format, pith__jvalue args) {
    jinja_pattern p = { .s = format.as.s, .args = args };
    pith__jbuffer *b = pith__j_buffer(r);
    for (size_t from = 0; p.at < p.s->n && !r->code; from = p.at) {
        const char *mark = memchr(p.s->p + p.at, '%', p.s->n - p.at);
        p.at = mark ? (size_t)(mark - p.s->p) : p.s->n;
        pith__j_put_part(r, b, p.s, from, p.at - from);
        if (mark) p.at++, jinja_percent_one(r, b, &p);
    }
    int left = args.type == PITH__T_TUPLE ? p.used < args.as.list->n
             : !p.used && args.type != PITH__T_DICT && args.type != PITH__T_LIST && args.type != PITH__T_UNDEFINED;
    if (left && !r->code) pith__j_fail(r, "more values than %%... in a pattern for them");
    return pith__j_done(r, b);
}

/* ---- "...".format() ---------------------------------------------------------------------------------- */

static void jinja_read_spec(pith__jrun *r, const pith__jstr *t, jinja_spec *s) {
    size_t at = 0, first = t->n ? pith__j_offset(t, 1) : 0;
    *s = (jinja_spec){ .precision = -1, .fill = pith__j_text(r, " ", 1, 0) };
    if (first < t->n && strchr("<>=^", t->p[first]) && t->p[first]) {
        s->fill = pith__j_part(r, t, 0, first);
        s->align = t->p[first];
        at = first + 1;
    } else if (t->n && *t->p && strchr("<>=^", *t->p)) {
        s->align = t->p[at++];
    }
    if (at < t->n && t->p[at] && strchr("+- ", t->p[at])) s->sign = t->p[at++];
    if (at < t->n && t->p[at] == '#') s->alternate = 1, at++;
    if (at < t->n && t->p[at] == '0' && !s->align) s->align = '=', s->fill = pith__j_text(r, "0", 1, 0);
    s->width = jinja_pattern_int(r, t, &at);
    if (at < t->n && (t->p[at] == ',' || t->p[at] == '_')) s->group = t->p[at++];
    if (at < t->n && t->p[at] == '.') at++, s->precision = jinja_pattern_int(r, t, &at);
    if (at < t->n) s->type = t->p[at++];
    if (at < t->n || (s->type && !strchr("sdboxXcneEfFgG%", s->type)))
        pith__j_fail(r, "no format specification is ':%.*s'", pith__j_shown(t), t->p);
}

static void jinja_format_value(pith__jrun *r, pith__jbuffer *b, const pith__jstr *t, pith__jvalue v) {
    jinja_spec s;
    double f;
    jinja_read_spec(r, t, &s);
    if (r->code) return;
    int is_int = v.type == PITH__T_INT || v.type == PITH__T_BOOL;
    if (!t->n || (v.type == PITH__T_STR && (!s.type || s.type == 's'))) {
        if (s.align == '=') s.align = '<';
        jinja_put_text(r, b, s, pith__j_string(r, v));
    } else if (is_int && s.type == 'c') {
        jinja_put_character(r, b, s, v);
    } else if (is_int && (!s.type || strchr("dboxXn", s.type))) {
        jinja_put_int(r, b, s, v.as.i, v.mark);
    } else if (pith__j_number(v, &f) && s.type && strchr("eEfFgG%", s.type)) {
        jinja_put_float(r, b, s, f, v.mark);
    } else if (v.type == PITH__T_FLOAT && !s.type && s.precision < 0) { /* its own digits */
        pith__jvalue text = pith__j_string(r, v);
        char digits[400];
        if (r->code || text.as.s->n >= sizeof digits) return;
        memcpy(digits, text.as.s->p, text.as.s->n);
        digits[text.as.s->n] = 0;
        jinja_put_digits(r, b, s, *digits == '-', digits + (*digits == '-'), v.mark);
    } else if (v.type == PITH__T_FLOAT && !s.type) {
        jinja_put_float(r, b, s, f, v.mark);
    } else if (pith__j_defined(r, v)) {
        pith__j_fail(r, "a %s cannot be written as '{:%.*s}'", pith__j_type(v), pith__j_shown(t), t->p);
    }
}

/* The value that a name, or a number, and the [keys] behind it stand for; at stops at ! : or the end. */
static pith__jvalue jinja_format_field(pith__jrun *r, const pith__jstr *t, size_t *at, int *next,
                                       const pith__jargs *all) {
    size_t from = *at;
    int64_t i;
    pith__jvalue v = { 0 };
    while (*at < t->n && t->p[*at] && !strchr(".[!:", t->p[*at])) ++*at;
    const pith__jstr name = { .p = t->p + from, .n = *at - from };
    if (!name.n || pith__j_read_int(name.p, name.n, 10, &i)) {
        i = name.n ? i : (*next)++;
        if (i < 0 || i >= all->n) return pith__j_fail(r, "format() has no value for {%d}", (int)i);
        v = all->v[i];
    } else {
        for (int k = 0; k < all->n_named; k++)
            if (all->name[k]->n == name.n && !memcmp(all->name[k]->p, name.p, name.n)) v = all->named[k];
        if (!v.type) return pith__j_fail(r, "format() has no value for {%.*s}", pith__j_shown(&name), name.p);
    }
    while (*at < t->n && t->p[*at] == '[' && !r->code) { /* Python also has .name, for what templates do not have */
        for (from = ++*at; *at < t->n && t->p[*at] != ']';) ++*at;
        const pith__jstr key = { .p = t->p + from, .n = *at - from };
        const pith__jvalue *item = v.type == PITH__T_DICT ? pith__j_get_named(v.as.dict, &key) : NULL;
        if ((v.type == PITH__T_LIST || v.type == PITH__T_TUPLE) && pith__j_read_int(key.p, key.n, 10, &i) && i >= 0 &&
            i < (int64_t)v.as.list->n)
            item = &v.as.list->v[i];
        if (!item) return pith__j_fail(r, "format() has no value for [%.*s]", pith__j_shown(&key), key.p);
        v = *item;
        ++*at;
    }
    return v;
}

static void jinja_format_one(pith__jrun *r, pith__jbuffer *b, const pith__jstr *t, int *next, const pith__jargs *all) {
    size_t at = 0;
    pith__jvalue v = jinja_format_field(r, t, &at, next, all);
    char how = at < t->n && t->p[at] == '!' ? at + 1 < t->n ? t->p[at + 1] : 0 : 's';
    if (at < t->n && t->p[at] == '!') at += 2;
    if (!r->code && (!how || !strchr("sra", how) || (at < t->n && t->p[at] != ':')))
        pith__j_fail(r, "format() cannot read '{%.*s}'", pith__j_shown(t), t->p);
    if (r->code) return;
    if (how != 's') {
        pith__jbuffer *text = pith__j_buffer(r);
        pith__j_put_repr(r, text, v);
        v = pith__j_done(r, text);
    }
    if (at < t->n) at++;
    const pith__jstr spec = { .p = t->p + at, .n = at < t->n ? t->n - at : 0 };
    jinja_format_value(r, b, &spec, v);
}

PITH_SHARED pith__jvalue pith__j_format(pith__jrun *r, pith__jvalue self, const pith__jvalue *a,
                                        const pith__jargs *all) {
    const pith__jstr *s = self.as.s;
    pith__jbuffer *b = pith__j_buffer(r);
    int next = 0;
    (void)a;
    for (size_t i = 0; i < s->n && !r->code; i++) {
        char c = s->p[i];
        if (c != '{' && c != '}') {
            pith__j_put_part(r, b, s, i, 1);
        } else if (i + 1 < s->n && s->p[i + 1] == c) {
            pith__j_put_part(r, b, s, i++, 1);
        } else {
            const char *end = c == '{' ? memchr(s->p + i, '}', s->n - i) : NULL;
            if (!end) return pith__j_fail(r, "format() of a pattern with a single '%c'", c);
            size_t n = (size_t)(end - s->p) - i - 1;
            const pith__jstr field = { .p = s->p + i + 1, .n = n, .marks = s->marks ? s->marks + i + 1 : NULL,
                                       .mark = s->mark };
            jinja_format_one(r, b, &field, &next, all);
            i += n + 1;
        }
    }
    return pith__j_done(r, b);
}

/* ---- strftime ------------------------------------------------------------------------------------------ */

static int jinja_days_before(int year, int month) { /* in the year */
    static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return before[month - 1] + (leap && month > 2);
}

static int jinja_weekday(int year, int month, int day) { /* 0: Sunday */
    int y = year - 1;
    return (y * 365 + y / 4 - y / 100 + y / 400 + jinja_days_before(year, month) + day) % 7;
}

static int jinja_iso_week(const pith_time *m, int *year) {
    int day = jinja_days_before(m->year, m->month) + m->day - 1,
        monday = (jinja_weekday(m->year, m->month, m->day) + 6) % 7;
    int week = (day - monday + 10) / 7; /* the week of Thursday */
    *year = m->year;
    for (int i = 0; i < 2; i++) {
        int y = i ? m->year : m->year - 1, first = jinja_weekday(y, 1, 1), leap = jinja_days_before(y, 3) == 60;
        int weeks = first == 4 || (leap && first == 3) ? 53 : 52;
        if (!i && week < 1) return *year = y, weeks;
        if (i && week > weeks) return *year = y + 1, 1;
    }
    return week;
}

/* One %... of strftime in the locale C; 0: not known. */
static int jinja_time_part(const pith_time *m, char c, char *to, int *blank) {
    static const char *const day[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
    static const char *const month[] = { "January", "February", "March", "April", "May", "June", "July", "August",
                                         "September", "October", "November", "December" };
    int week = jinja_weekday(m->year, m->month, m->day), yday = jinja_days_before(m->year, m->month) + m->day - 1, y;
    int hour = m->hour % 12 ? m->hour % 12 : 12, iso = jinja_iso_week(m, &y);
    *blank = 0;
    switch (c) {
    case 'a': case 'A': return sprintf(to, "%.*s", c == 'a' ? 3 : 9, day[week]);
    case 'b': case 'h': case 'B': return sprintf(to, "%.*s", c == 'B' ? 9 : 3, month[m->month - 1]);
    case 'c': return sprintf(to, "%.3s %.3s %2d %02d:%02d:%02d %d", day[week], month[m->month - 1], m->day, m->hour,
                             m->minute, m->second, m->year);
    case 'C': return sprintf(to, "%02d", m->year / 100);
    case 'd': return sprintf(to, "%02d", m->day);
    case 'D': case 'x': return sprintf(to, "%02d/%02d/%02d", m->month, m->day, m->year % 100);
    case 'e': return *blank = 1, sprintf(to, "%2d", m->day);
    case 'f': return sprintf(to, "000000");
    case 'F': return sprintf(to, "%d-%02d-%02d", m->year, m->month, m->day);
    case 'g': return sprintf(to, "%02d", y % 100);
    case 'G': return sprintf(to, "%d", y);
    case 'H': return sprintf(to, "%02d", m->hour);
    case 'I': return sprintf(to, "%02d", hour);
    case 'j': return sprintf(to, "%03d", yday + 1);
    case 'k': return *blank = 1, sprintf(to, "%2d", m->hour);
    case 'l': return *blank = 1, sprintf(to, "%2d", hour);
    case 'm': return sprintf(to, "%02d", m->month);
    case 'M': return sprintf(to, "%02d", m->minute);
    case 'n': case 't': return sprintf(to, c == 'n' ? "\n" : "\t");
    case 'p': case 'P': return sprintf(to, m->hour < 12 ? c == 'p' ? "AM" : "am" : c == 'p' ? "PM" : "pm");
    case 'r': return sprintf(to, "%02d:%02d:%02d %s", hour, m->minute, m->second, m->hour < 12 ? "AM" : "PM");
    case 'R': return sprintf(to, "%02d:%02d", m->hour, m->minute);
    case 'S': return sprintf(to, "%02d", m->second);
    case 'T': case 'X': return sprintf(to, "%02d:%02d:%02d", m->hour, m->minute, m->second);
    case 'u': return sprintf(to, "%d", week ? week : 7);
    case 'U': return sprintf(to, "%02d", (yday + 7 - week) / 7);
    case 'V': return sprintf(to, "%02d", iso);
    case 'w': return sprintf(to, "%d", week);
    case 'W': return sprintf(to, "%02d", (yday + 7 - (week + 6) % 7) / 7);
    case 'y': return sprintf(to, "%02d", m->year % 100);
    case 'Y': return sprintf(to, "%d", m->year);
    case 'z': case 'Z': *to = 0; return -1; /* the time has no zone */
    case '%': return sprintf(to, "%%");
    default: return 0;
    }
}

PITH_SHARED pith__jvalue pith__j_strftime(pith__jrun *r, pith__jvalue self, const pith__jvalue *a,
                                          const pith__jargs *all) {
    const pith_time *m = r->now;
    pith__jbuffer *b = pith__j_buffer(r);
    (void)self, (void)all;
    if (a[0].type != PITH__T_STR) return pith__j_fail(r, "strftime_now(%s), need a string", pith__j_type(a[0]));
    const pith__jstr *s = a[0].as.s;
    for (size_t i = 0; i < s->n && !r->code; i++) {
        char to[64];
        int blank, n = 0, bare = s->p[i] == '%' && i + 2 < s->n && s->p[i + 1] == '-'; /* glibc: %-d without its 0 */
        if (s->p[i] == '%' && i + 1 < s->n) n = jinja_time_part(m, s->p[i + 1 + (size_t)bare], to, &blank);
        if (!n) {
            pith__j_put_part(r, b, s, i, 1);
            continue;
        }
        const char *p = to;
        if (bare && n > 0) while ((*p == '0' || (blank && *p == ' ')) && p[1]) p++;
        pith__j_put(r, b, p, strlen(p), pith__j_mark(s, i));
        i += 1 + (size_t)bare;
    }
    return pith__j_done(r, b);
}
