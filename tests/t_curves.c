/* t_curves.c - the curves of a training: what is in the log is in the picture, whose size does not grow with it. */
#define _POSIX_C_SOURCE 200809L
#include "../tools/probes.h"
#include "fixture.h"
#include "test.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

static char log_path[64], svg_path[64];
static char *svg; /* the last picture */

/* Draws a log of this text. */
static int draw(const char *text, size_t n) {
    FILE *f = fopen(log_path, "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f)) FAIL("no log");
    int code = curves_write(log_path, svg_path);
    size_t size;
    free(svg);
    svg = NULL;
    if (!code && read_text(svg_path, &svg, &size)) FAIL("no picture");
    return code;
}

static int count(const char *what) {
    int n = 0;
    for (const char *p = svg; (p = strstr(p, what)); p++) n++;
    return n;
}

/* ---- a reader of XML, as far as is needed -------------------------------------------------------------- */

/* Attributes NAME="VALUE" up to the > of a tag; NULL: these are not well formed. */
static const char *end_of_tag(const char *p) {
    while (*p && *p != '>') {
        if (*p == '/' || *p == '?') { p++; continue; }
        if (!isspace((unsigned char)*p)) return NULL;
        while (isspace((unsigned char)*p)) p++;
        const char *name = p;
        while (isalnum((unsigned char)*p) || *p == '-' || *p == ':') p++;
        if (p > name && (p[0] != '=' || p[1] != '"')) return NULL;
        if (p > name) p = strpbrk(p + 2, "\"<&");
        if (!p || (p > name && *p != '"')) return NULL;
        p += p > name;
    }
    return *p ? p : NULL;
}

/* Each tag is closed, in order; outside of them stands no & or >. */
static int is_well_formed(void) {
    char open[16][16];
    int depth = 0;
    for (const char *p = svg; *p; p++) {
        if (*p == '&' || *p == '>') return 0;
        if (*p != '<') continue;
        int close = p[1] == '/', n = 0;
        const char *name = p + 1 + close;
        while (isalnum((unsigned char)name[n])) n++;
        const char *end = end_of_tag(name + n + (*name == '?' ? 4 : 0));
        if (!end || n > 15 || depth == 16) return 0;
        if (close && (!depth-- || strncmp(open[depth], name, (size_t)n) || open[depth][n])) return 0;
        if (!close && *name != '?' && end[-1] != '/') snprintf(open[depth++], 16, "%.*s", n, name);
        p = end;
    }
    return depth == 0;
}

/* The points of the first curve of a class: how many, and where the last one is. */
static int points_of(const char *class, double *x, double *y) {
    char begin[64];
    snprintf(begin, sizeof begin, "<polyline class=\"%s\" points=\"", class);
    const char *p = strstr(svg, begin);
    int n = 0, used;
    for (p = p ? p + strlen(begin) : ""; sscanf(p, "%lf,%lf%n", x, y, &used) == 2; p += used) n++;
    return n;
}

/* Where the highest point of such a curve is. */
static void find_peak(const char *class, double *x, double *y) {
    char begin[64];
    double px, py;
    int used;
    snprintf(begin, sizeof begin, "<polyline class=\"%s\" points=\"", class);
    const char *p = strstr(svg, begin);
    *x = *y = INFINITY;
    for (p = p ? p + strlen(begin) : ""; sscanf(p, "%lf,%lf%n", &px, &py, &used) == 2; p += used)
        if (py < *y) *x = px, *y = py;
}

static int has_no_odd_number(void) {
    for (const char *p = svg; (p = strpbrk(p, "ni")); p++)
        if (!strncmp(p, "nan", 3) || !strncmp(p, "inf", 3)) return 0;
    return 1;
}

/* ---- pictures ------------------------------------------------------------------------------------------ */

TEST(all_that_is_logged) {
    static const char log[] =
        "{\"step\": 0, \"eval_loss\": 3, \"forget_loss\": 2.5, \"kl\": 0, \"memorised\": 0}\n"
        "{\"step\": 1, \"loss\": 3.5, \"learning_rate\": 1e-4, \"grad_norm\": 2, \"mean_token_accuracy\": 0.25}\n"
        "{\"step\": 2, \"loss\": 2.5, \"learning_rate\": 2e-4, \"grad_norm\": null, \"mean_token_accuracy\": 0.5}\n"
        "{\"step\": 2, \"eval_loss\": 2, \"forget_loss\": 2.75, \"kl\": 0.25, \"memorised\": 0.5, \"sample\": \"<b>&\"}\n"
        "{\"step\": 3, \"eval_loss\": 2.125}\n";
    double x, y;
    REQUIRE(!draw(log, sizeof log - 1));
    CHECK(is_well_formed());
    EQ(count("class=\"title\""), 7);
    EQ(count("class=\"mark\""), 3 + 3 * 2);
    EQ(count("class=\"dot\""), 1); /* a norm alone */
    CHECK(strstr(svg, "Training, step 3<") && strstr(svg, "held out 2.125, lowest 2 at step 2<"));
    CHECK(strstr(svg, "<title>step 2: 0.25</title>") && strstr(svg, "<title>step 0: 2.5</title>"));
    CHECK(!strstr(svg, "<b>") && !strstr(svg, "<script") && !strstr(svg, "href"));
    EQ(points_of("raw", &x, &y), 2);
    EQ(points_of("measured", &x, &y), 3);
    NEAR(x, 942, 0.05); /* the last step stands at the right */
    CHECK(strstr(svg, ">2e-4<") && strstr(svg, ">1e-4<"));
}

TEST(one_line_and_none) {
    static const char one[] = "{\"step\": 10, \"epoch\": 0.1, \"loss\": 4.25, \"learning_rate\": 0, \"grad_norm\": 1}\n";
    REQUIRE(!draw(one, sizeof one - 1));
    CHECK(is_well_formed() && has_no_odd_number());
    EQ(count("class=\"dot\""), 3);
    EQ(count("class=\"title\""), 3);
    CHECK(strstr(svg, "training 4.25<") != NULL);
    REQUIRE(!draw("", 0));
    CHECK(is_well_formed() && strstr(svg, "before the first step"));
    EQ(count("class=\"title\""), 0);
}

/* What is no line of a log, or goes back, is left out. */
TEST(odd_lines) {
    static const char log[] =
        "\n{\"step\": 1, \"loss\": 1}\nnot JSON\n[1, 2]\n{\"loss\": 7}\n{\"step\": -1, \"loss\": 7}\n"
        "{\"step\": \"2\", \"loss\": 7}\n{\"step\": 2, \"loss\": null}\n{\"step\": 2, \"loss\": 1e300}\n"
        "{\"step\": 3, \"loss\": 2}\n{\"step\": 2, \"loss\": 7}\n{\"step\": 3, \"loss\": 7}\n{\"step\": 4, \"loss\": 3}\r\n"
        "{\"step\": 5, \"lo";
    double x, y;
    REQUIRE(!draw(log, sizeof log - 1));
    CHECK(is_well_formed());
    EQ(points_of("raw", &x, &y), 3);
    CHECK(strstr(svg, "Training, step 4<") && strstr(svg, "training 3<"));
}

/* Values at which a scale could lose itself. */
TEST(odd_values) {
    static const char *const of[] = { "1", "0", "-3", "1e29", "-1e29", "1e-300", "5e-324", "1.0000000000000002", "123456789.5" };
    char log[256];
    for (int i = 0; i < 81; i++) {
        int n = snprintf(log, sizeof log, "{\"step\": 1, \"loss\": %s, \"kl\": %s}\n{\"step\": 1e29, \"loss\": %s, \"kl\": %s}\n",
                         of[i / 9], of[i / 9], of[i % 9], of[i % 9]);
        REQUIRE(!draw(log, (size_t)n));
        if (!is_well_formed() || !has_no_odd_number()) FAIL("%s", log);
        if (count("class=\"y\"") > 40 || count("class=\"x\"") > 40) FAIL("%d ticks: %s", count("class=\"y\""), log);
    }
}

static char *long_log(int n, size_t *size) {
    char *log = malloc((size_t)n * 100), *p = log;
    for (int i = 1; i <= n; i++) {
        p += sprintf(p, "{\"step\": %d, \"loss\": %.4f, \"eval_loss\": 3}\n", i, i == n / 2 ? 9.0 : 2 + (i % 2) * 0.5);
    }
    *size = (size_t)(p - log);
    return log;
}

/* As large as one of a thousand steps; the mean of all points, the lowest and the highest stay. */
TEST(long_logs) {
    static const int steps[] = { 499, 500, 501, 1000, 1001, 70000 };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        size_t size;
        char *log = long_log(steps[i], &size);
        double x, y;
        REQUIRE(!draw(log, size));
        CHECK(is_well_formed());
        int raw = points_of("raw", &x, &y), line = points_of("train", &x, &y), marks = count("class=\"mark\"");
        CHECK(raw <= 1000 && line <= 500 && line >= 250 && raw >= line && marks == 0);
        if (steps[i] == 70000) CHECK(line < 300); /* 256 points in a bucket */
        CHECK(strlen(svg) < 40000);
        NEAR(x, 942, 2);
        find_peak("raw", &x, &y); /* in the middle of the panel, which begins at 62 */
        NEAR(x, 62 + 440, 3);
        NEAR(y, 76, 0.1);
        if (steps[i] < 2000) find_peak("train", &x, &y); /* else one step of many does not show in the mean */
        NEAR(x, 62 + 440, 3);
        const char *mean = strstr(svg, "training ");
        NEAR(mean ? atof(mean + 9) : NAN, 2.25, 0.05);
        if (steps[i] == 70000) CHECK(strstr(svg, ">70k<") != NULL);
        free(log);
    }
}

TEST(written_beside) {
    REQUIRE(!draw("{\"step\": 1, \"loss\": 1}\n", 23));
    unlink(log_path);
    EQ(curves_write(log_path, svg_path), BAD_DATA);
    char *now;
    size_t n;
    REQUIRE(!read_text(svg_path, &now, &n)); /* the old one stays */
    CHECK(!strcmp(now, svg));
    free(now);
    EQ(curves_write("/dev/null", "/dev/null/x.svg"), FAILED);
}

int main(void) {
    char folder[] = "/tmp/pith-curves-XXXXXX";
    if (!mkdtemp(folder) || !freopen("/dev/null", "w", stderr)) return 99;
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    snprintf(svg_path, sizeof svg_path, "%s/svg", folder);
    RUN(all_that_is_logged);
    RUN(one_line_and_none);
    RUN(odd_lines);
    RUN(odd_values);
    RUN(long_logs);
    RUN(written_beside);
    free(svg);
    unlink(log_path), unlink(svg_path), rmdir(folder);
    return DONE();
}
