/* lower.c - a text in small letters, as Python's str.lower() makes it: U+0130 becomes two characters, and a capital sigma at the end
 * of a word the sigma that stands there. (Python also looks past marks and apostrophes for that end.) */
#include "text.h"

static int lower_cased(uint32_t c) { return (pith__unicode_class(c) & (PITH__UPPER | PITH__LOWER)) != 0; }

PITH_SHARED size_t pith__lower(const char *s, size_t n, char *to) {
    enum { CAPITAL_SIGMA = 0x3a3, LAST_SIGMA = 0x3c2 };
    size_t used = 0;
    uint32_t c, next, small[3];
    for (size_t i = 0, inside = 0; i < n; inside = (size_t)lower_cased(c)) {
        i += pith__utf8_read((const uint8_t *)s + i, n - i, &c);
        size_t count = pith__unicode_case(c, 'l', small);
        if (c == CAPITAL_SIGMA && inside && (i == n || (pith__utf8_read((const uint8_t *)s + i, n - i, &next), !lower_cased(next))))
            *small = LAST_SIGMA;
        for (size_t k = 0; k < count; k++) used += pith__utf8_write(small[k], to + used);
    }
    return used;
}
