/* decimal.c - sets of numbers as they are written: bounds, multiples, lists.
 *
 * A bound is compared digit by digit, never as floating point: what a pattern of digits says is exact. Each set is
 * made of a regular expression over the texts of numbers (pattern.c). 3 and 3.0 are the same number, so a set that
 * has one has the other. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { WHOLE_DIGITS = 18, ALL_DIGITS = 15 };

static pith__dfa *digits_pattern(pith__said *t, pith__arena *a, pith_error *err) {
    pith__dfa *d = NULL;
    if (t->failed) pith__fail(err, PITH_EMEMORY, "no memory for numbers");
    else d = pith__pattern((pith__str){ t->p, t->n }, a, err);
    free(t->p);
    return d;
}

/* x and y joined; NULL stays NULL. */
static pith__dfa *join_numbers(const pith__dfa *x, const pith__dfa *y, int how, pith__arena *a, pith_error *err) {
    pith__dfa *d = x && y ? pith__dfa_join(x, y, how, a) : NULL;
    if (x && y && !d) pith__fail(err, PITH_EMEMORY, "no memory for numbers");
    return d;
}

PITH_SHARED pith__dfa *pith__numbers(pith__arena *a, pith_error *err) {
    pith__said t = { 0 }, zero = { 0 };
    pith__say(&t, "^-?(0(\\.[0-9]{1,%d})?", ALL_DIGITS - 1);
    for (int whole = 1; whole < ALL_DIGITS; whole++)
        pith__say(&t, "|[1-9][0-9]{%d}(\\.[0-9]{1,%d})?", whole - 1, ALL_DIGITS - whole);
    pith__say(&t, "|[1-9][0-9]{%d,%d})$", ALL_DIGITS - 1, WHOLE_DIGITS - 1);
    pith__say(&zero, "^-0(\\.0*)?$");
    pith__dfa *all = digits_pattern(&t, a, err), *minus_zero = digits_pattern(&zero, a, err);
    return join_numbers(all, minus_zero, PITH__AND_NOT, a, err);
}

PITH_SHARED pith__dfa *pith__numbers_plain(pith__arena *a, pith_error *err) {
    return pith__pattern(pith__str_of("^-?[0-9]+$"), a, err);
}

PITH_SHARED pith__dfa *pith__numbers_whole(pith__arena *a, pith_error *err) {
    return join_numbers(pith__numbers(a, err), pith__pattern(pith__str_of("^[^.]*(\\.0*)?$"), a, err), PITH__AND, a, err);
}

/* ---- one number ---------------------------------------------------------------------------------------- */

PITH_SHARED int pith__decimal_read(pith__str s, pith__decimal *d) {
    size_t i = 0;
    long long exponent = 0, point = -1;
    *d = (pith__decimal){ .minus = s.n && *s.p == '-' };
    for (i = (size_t)d->minus; i < s.n && s.p[i] != 'e' && s.p[i] != 'E'; i++) {
        if (s.p[i] == '.') point = d->n;
        else if (d->n == 0 && s.p[i] == '0' && point < 0) continue; /* zeros before it */
        else if (d->n == PITH__DECIMAL_DIGITS) return 0;
        else d->digit[d->n++] = s.p[i];
    }
    if (point < 0) point = d->n;
    if (i < s.n) {
        int minus = s.n > i + 1 && s.p[i + 1] == '-';
        for (i++; i < s.n; i++)
            if (s.p[i] >= '0' && s.p[i] <= '9' && exponent < 100000) exponent = 10 * exponent + (s.p[i] - '0');
        point += minus ? -exponent : exponent;
    }
    while (d->n && d->digit[d->n - 1] == '0') d->n--;
    int zeros = 0;
    while (zeros < d->n && d->digit[zeros] == '0') zeros++;
    memmove(d->digit, d->digit + zeros, (size_t)(d->n - zeros));
    d->n -= zeros;
    point -= zeros;
    if (!d->n) point = 0, d->minus = 0;
    if (point > PITH__DECIMAL_DIGITS) point = PITH__DECIMAL_DIGITS; /* larger than all that are written */
    d->point = point < -PITH__DECIMAL_DIGITS ? -PITH__DECIMAL_DIGITS : (int)point;
    return 1;
}

/* Digit i before the point (from the left), and digit i behind it. */
static char whole_digit(const pith__decimal *d, int i) { return i < d->n ? d->digit[i] : '0'; }
static int whole_digits(const pith__decimal *d) { return d->point > 0 ? d->point : 0; }
static int fraction_digits(const pith__decimal *d) { return d->n > d->point ? d->n - d->point : 0; }
static char fraction_digit(const pith__decimal *d, int i) {
    int at = d->point + i;
    return at < 0 || at >= d->n ? '0' : d->digit[at];
}

static void say_whole(pith__said *t, const pith__decimal *d, int n) {
    if (!whole_digits(d)) pith__say(t, "0");
    for (int i = 0; i < n && i < whole_digits(d); i++) pith__say(t, "%c", whole_digit(d, i));
}

/* Behind the same digits before the point: fractions that are smaller. */
static void say_smaller_fractions(pith__said *t, const pith__decimal *d, int shown) {
    int n = whole_digits(d);
    for (int i = 0; i < shown; i++) {
        pith__say(t, "|");
        say_whole(t, d, n);
        if (i) pith__say(t, "\\.");
        for (int k = 0; k < i; k++) pith__say(t, "%c", fraction_digit(d, k));
        if (fraction_digit(d, i) > '0' && i)
            pith__say(t, "([0-%c][0-9]*)?", fraction_digit(d, i) - 1);
        else if (fraction_digit(d, i) > '0')
            pith__say(t, "(\\.[0-%c][0-9]*)?", fraction_digit(d, i) - 1);
    }
}

/* Alternatives: the numbers without a sign that are below d's digits, or equal. */
static void say_below(pith__said *t, const pith__decimal *d, int or_equal) {
    int n = whole_digits(d), f = fraction_digits(d), shown = f < ALL_DIGITS ? f : ALL_DIGITS;
    const char *tail = "(\\.[0-9]*)?";
    if (n > WHOLE_DIGITS) { /* all that are written are */
        pith__say(t, ".*");
        return;
    }
    pith__say(t, "[]"); /* none, so far */
    if (n > 1) pith__say(t, "|[1-9][0-9]{0,%d}%s", n - 2, tail);
    if (n > 0) pith__say(t, "|0%s", tail);
    for (int i = 0; i < n; i++) { /* the same up to digit i, which is smaller */
        char low = i ? '0' : '1', high = (char)(whole_digit(d, i) - 1);
        if (high < low) continue;
        pith__say(t, "|");
        for (int k = 0; k < i; k++) pith__say(t, "%c", whole_digit(d, k));
        pith__say(t, "[%c-%c][0-9]{%d}%s", low, high, n - i - 1, tail);
    }
    say_smaller_fractions(t, d, shown);
    if (f > shown || or_equal) { /* behind the digits that are shown, only zeros: below it, or equal to it */
        pith__say(t, "|");
        say_whole(t, d, n);
        if (shown) pith__say(t, "\\.");
        for (int k = 0; k < shown; k++) pith__say(t, "%c", fraction_digit(d, k));
        pith__say(t, shown ? "0*" : "(\\.0*)?");
    }
}

PITH_SHARED pith__dfa *pith__numbers_below(pith__str bound, int or_equal, pith__arena *a, pith_error *err) {
    pith__decimal d;
    pith__said t = { 0 };
    pith__dfa *all = pith__numbers(a, err);
    if (!pith__decimal_read(bound, &d)) {
        pith__fail(err, PITH_EDATA, "more than %d digits", PITH__DECIMAL_DIGITS);
        return NULL;
    }
    int negative = d.minus;
    pith__say(&t, negative ? "^([^-].*|-(" : "^(-.*|");
    say_below(&t, &d, negative ? !or_equal : or_equal);
    pith__say(&t, negative ? "))$" : ")$");
    pith__dfa *set = digits_pattern(&t, a, err);
    return join_numbers(all, set, negative ? PITH__AND_NOT : PITH__AND, a, err);
}

PITH_SHARED pith__dfa *pith__numbers_equal(const pith__str *number, size_t n, int zeros, pith__arena *a, pith_error *err) {
    pith__said t = { 0 };
    pith__say(&t, "^([]");
    for (size_t i = 0; i < n; i++) {
        pith__decimal d;
        if (!pith__decimal_read(number[i], &d) || whole_digits(&d) > WHOLE_DIGITS ||
            whole_digits(&d) + fraction_digits(&d) > WHOLE_DIGITS + ALL_DIGITS) {
            free(t.p);
            pith__fail(err, PITH_EDATA, "a number of too many digits");
            return NULL;
        }
        pith__say(&t, d.minus ? "|-" : "|");
        say_whole(&t, &d, whole_digits(&d));
        if (fraction_digits(&d)) pith__say(&t, "\\.");
        for (int k = 0; k < fraction_digits(&d); k++) pith__say(&t, "%c", fraction_digit(&d, k));
        pith__say(&t, fraction_digits(&d) ? "" : "(\\.");
        if (zeros) pith__say(&t, fraction_digits(&d) ? "0{0,%d}" : "0{1,%d})?", zeros);
        else pith__say(&t, fraction_digits(&d) ? "0*" : "0*)?");
    }
    pith__say(&t, ")$");
    return digits_pattern(&t, a, err);
}

PITH_SHARED pith__dfa *pith__numbers_multiple(uint32_t of, pith__arena *a, pith_error *err) {
    pith__dfa *whole = pith__numbers_whole(a, err), *multiple = pith__dfa_multiple(of, a);
    return join_numbers(whole, multiple, PITH__AND, a, err);
}
