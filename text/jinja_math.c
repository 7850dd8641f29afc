/* jinja_math.c - operators, as Python has them: 7 // -2 is -4, "a" * 2 is "aa", lists add up.
 *
 * Integers have 64 bits; what would need more is an error, not a wrong number. */
#include "jinja.h"

#include <math.h>
#include <string.h>

static int jinja_integer(pith__jvalue v) { return v.type == PITH__T_BOOL || v.type == PITH__T_INT; }

static pith__jvalue jinja_too_large(pith__jrun *r) { return pith__j_fail(r, "an integer of more than 64 bits"); }

static int jinja_multiply(int64_t a, int64_t b, int64_t *c) { /* 0: it has no room */
    uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b;
    if (x && y > (uint64_t)INT64_MAX / x) return 0;
    *c = (a < 0) != (b < 0) ? -(int64_t)(x * y) : (int64_t)(x * y);
    return 1;
}

static pith__jvalue jinja_power(pith__jrun *r, int64_t a, int64_t b) {
    int64_t c = 1;
    if (b < 0) return a ? pith__j_float(pow((double)a, (double)b)) : pith__j_fail(r, "0 to a negative power");
    for (; b > 0; b--) {
        if (a == 0 || a == 1) return pith__j_int(a);
        if (a == -1) return pith__j_int(b & 1 ? -c : c);
        if (!jinja_multiply(c, a, &c)) return jinja_too_large(r);
    }
    return pith__j_int(c);
}

/* op: + - * / f(//) % p(**) */
static pith__jvalue jinja_of_integers(pith__jrun *r, char op, int64_t a, int64_t b) {
    int64_t c;
    switch (op) {
    case '+':
        if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b) return jinja_too_large(r);
        return pith__j_int(a + b);
    case '-':
        if (b < 0 ? a > INT64_MAX + b : a < INT64_MIN + b) return jinja_too_large(r);
        return pith__j_int(a - b);
    case '*': return jinja_multiply(a, b, &c) ? pith__j_int(c) : jinja_too_large(r);
    case 'p': return jinja_power(r, a, b);
    default: break;
    }
    if (!b) return pith__j_fail(r, "division by zero");
    if (op == '/') return pith__j_float((double)a / (double)b);
    if (b == -1) return op == '%' ? pith__j_int(0) : a == INT64_MIN ? jinja_too_large(r) : pith__j_int(-a);
    int64_t rest = a % b, down = rest && (rest < 0) != (b < 0); /* towards minus infinity */
    return pith__j_int(op == '%' ? rest + (down ? b : 0) : a / b - down);
}

static pith__jvalue jinja_of_floats(pith__jrun *r, char op, double a, double b) {
    if (strchr("/f%", op) && b == 0) return pith__j_fail(r, "division by zero");
    switch (op) {
    case '+': return pith__j_float(a + b);
    case '-': return pith__j_float(a - b);
    case '*': return pith__j_float(a * b);
    case '/': return pith__j_float(a / b);
    case 'f': return pith__j_float(floor(a / b));
    case '%': {
        double rest = fmod(a, b);
        return pith__j_float(rest && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    default: return pith__j_float(pow(a, b));
    }
}

/* A list at the end of its memory grows there, as strings do. */
static pith__jvalue jinja_add_lists(pith__jrun *r, pith__jvalue a, pith__jvalue b) {
    const pith__jlist *x = a.as.list, *y = b.as.list;
    pith__jvalue to = pith__j_list(r, a.type, 0);
    if (r->code || !pith__j_work(r, y->n)) return to;
    if (x->cap > x->n && x->v[x->n].type == PITH__T_ABSENT) { /* nobody else has put something behind it */
        *to.as.list = *x;
        to.as.list->at = 0;
    } else {
        pith__j_work(r, x->n);
        for (size_t i = 0; i < x->n && !r->code; i++) pith__j_append(r, to.as.list, x->v[i]);
    }
    for (size_t i = 0; i < y->n && !r->code; i++) pith__j_append(r, to.as.list, y->v[i]);
    return to;
}

static pith__jvalue jinja_repeat(pith__jrun *r, pith__jvalue v, int64_t n) {
    if (v.type == PITH__T_STR) {
        pith__jbuffer *b = pith__j_buffer(r);
        for (; n > 0 && v.as.s->n && !r->code && pith__j_work(r, 1); n--) pith__j_put_value(r, b, v);
        return pith__j_done(r, b);
    }
    pith__jvalue to = pith__j_list(r, v.type, 0);
    for (; n > 0 && v.as.list->n && !r->code; n--)
        for (size_t i = 0; i < v.as.list->n && pith__j_work(r, 1); i++) pith__j_append(r, to.as.list, v.as.list->v[i]);
    return to;
}

static int jinja_sequence(pith__jvalue v) {
    return v.type == PITH__T_STR || v.type == PITH__T_LIST || v.type == PITH__T_TUPLE;
}

static pith__jvalue jinja_add_texts(pith__jrun *r, pith__jvalue a, pith__jvalue b) {
    if (a.as.s->safe && !b.as.s->safe) b = pith__j_escape(r, b);
    if (b.as.s->safe && !a.as.s->safe) a = pith__j_escape(r, a);
    return r->code ? a : pith__j_concat(r, a, b);
}

PITH_SHARED pith__jvalue pith__j_arithmetic(pith__jrun *r, char op, pith__jvalue a, pith__jvalue b) {
    pith__jvalue c = { 0 };
    double f, g;
    if (r->code) return c;
    if (op == '%' && a.type == PITH__T_STR) return pith__j_percent(r, a, b);
    if (op == '+' && a.type == PITH__T_STR && b.type == PITH__T_STR) return jinja_add_texts(r, a, b);
    if (op == '+' && a.type == b.type && (a.type == PITH__T_LIST || a.type == PITH__T_TUPLE))
        return jinja_add_lists(r, a, b);
    if (op == '*' && jinja_sequence(a) && jinja_integer(b)) return jinja_repeat(r, a, b.as.i);
    if (op == '*' && jinja_integer(a) && jinja_sequence(b)) return jinja_repeat(r, b, a.as.i);
    if (jinja_integer(a) && jinja_integer(b)) {
        c = jinja_of_integers(r, op, a.as.i, b.as.i);
    } else if (pith__j_number(a, &f) && pith__j_number(b, &g)) {
        if (a.type == PITH__T_BIG || b.type == PITH__T_BIG) return jinja_too_large(r);
        c = jinja_of_floats(r, op, f, g);
    } else if (pith__j_defined(r, a) && pith__j_defined(r, b)) {
        static const char *const name[] = { "+", "-", "*", "/", "//", "%", "**" };
        return pith__j_fail(r, "a %s %s a %s: no such operation", pith__j_type(a),
                            name[strchr("+-*/f%p", op) - "+-*/f%p"],
                            pith__j_type(b));
    }
    c.mark = a.mark | b.mark;
    return c;
}

PITH_SHARED pith__jvalue pith__j_sign(pith__jrun *r, pith__jvalue v, int minus) {
    pith__jvalue to = v;
    if (r->code || !pith__j_defined(r, v)) return v;
    if (v.type == PITH__T_FLOAT) {
        to.as.f = minus ? -v.as.f : v.as.f;
    } else if (jinja_integer(v)) {
        if (minus && v.as.i == INT64_MIN) return jinja_too_large(r);
        to.type = PITH__T_INT;
        to.as.i = minus ? -v.as.i : v.as.i;
    } else {
        return pith__j_fail(r, "a sign before a %s, need a number", pith__j_type(v));
    }
    return to;
}

/* round() of Python: to the nearest, of the value as it is in binary; halves to even. */
static pith__jvalue jinja_round_float(double f, int64_t digits) {
    char to[400];
    double y = f;
    if (!(f - f == 0) || digits > 40) return pith__j_float(f);
    if (digits >= 0) {
        pith__j_read_float(to, pith__j_fixed(f, (int)digits, to), &y);
    } else {
        double ten = pow(10, (double)-digits);
        y = digits < -308 ? 0 : nearbyint(f / ten) * ten;
    }
    return pith__j_float(y);
}

PITH_SHARED pith__jvalue pith__j_round(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, const pith__jargs *all) {
    int64_t digits = a[0].type == PITH__T_INT ? a[0].as.i : 0;
    int common = !a[1].type || pith__j_is(a[1], "common"), up = pith__j_is(a[1], "ceil");
    double f, ten = pow(10, (double)digits);
    (void)all;
    if (!common && !up && !pith__j_is(a[1], "floor"))
        return pith__j_fail(r, "round's method, need common, ceil or floor");
    if (!pith__j_defined(r, v)) return v;
    if (!pith__j_number(v, &f) || v.type == PITH__T_BIG)
        return pith__j_fail(r, "round of a %s, need a number", pith__j_type(v));
    if (!common) return pith__j_float((up ? ceil(f * ten) : floor(f * ten)) / ten);
    if (!jinja_integer(v)) return jinja_round_float(f, digits);
    if (digits >= 0) return pith__j_int(v.as.i);
    pith__jvalue y = jinja_round_float(f, digits);
    return pith__j_int((int64_t)y.as.f);
}
