/* curves.c - the log of a training as a picture: train.log.jsonl -> train.svg, which any browser opens.
 *
 * Gets lines of JSON with a step and numbers, in the order of their steps, and any number of them: points that would
 * lie side by side are taken together while they are read, so that a picture of a million steps is no larger than one
 * of a thousand. Nothing of the log but numbers gets into the picture. It has no script and no font of its own. Its
 * two colours differ for the colour blind too (Okabe and Ito 2008) and what they mean is also said in words. */
#define _POSIX_C_SOURCE 200809L
#include "probes.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is drawn ----------------------------------------------------------------------------------- */

enum { LOSS, GENERAL, DRIFT, RECALL, ACCURACY, RATE, NORM, N_PANEL };

static const struct {
    const char *title;
    int zero;            /* 1: the scale begins at 0 */
} panels[N_PANEL] = {
    [LOSS] = { "Loss (nats a token)", 0 },
    [GENERAL] = { "Loss on general text (nats a token)", 0 },
    [DRIFT] = { "KL from the base on general text (nats a token)", 1 },
    [RECALL] = { "Repeated by heart (part of second halves)", 1 },
    [ACCURACY] = { "Accuracy (part of tokens that were the likeliest)", 0 },
    [RATE] = { "Learning rate", 1 },
    [NORM] = { "Gradient norm before clipping", 1 },
};

enum { PLAIN, NOISY, MEASURED }; /* how it is drawn: a line; also smoothed; a line with a mark at each evaluation */

enum { N_CURVE = 8, CURVE_NAMES = N_CURVE + 1 };

static const struct {
    const char *name;    /* in a line of the log */
    const char *label;
    int panel, kind;
} kinds[N_CURVE] = {
    { "loss", "training", LOSS, NOISY },
    { "eval_loss", "held out", LOSS, MEASURED },
    { "forget_loss", "", GENERAL, MEASURED },
    { "kl", "", DRIFT, MEASURED },
    { "memorised", "", RECALL, MEASURED },
    { "mean_token_accuracy", "", ACCURACY, NOISY },
    { "learning_rate", "", RATE, PLAIN },
    { "grad_norm", "", NORM, NOISY },
};

/* ---- the log ------------------------------------------------------------------------------------------- */

enum { BUCKETS = 500, MARKS = 60 };

typedef struct {         /* points side by side, as one */
    double first, last;  /* their steps */
    double low, high, sum;
    double n;
    double smooth;       /* the mean of it and its neighbours */
} bucket;

typedef struct {
    int n;               /* buckets; the last may not be full yet */
    double per;          /* points in a full one */
    double value, least, least_step; /* the last point, and the lowest */
    bucket b[BUCKETS];
} curve;

typedef struct {
    double steps;        /* the last step */
    curve curve[N_CURVE];
    output o;
} picture;

static void join(bucket *b, const bucket *next) {
    b->last = next->last;
    if (next->low < b->low) b->low = next->low;
    if (next->high > b->high) b->high = next->high;
    b->sum += next->sum;
    b->n += next->n;
}

/* A step that is not behind the last one is of a run that was resumed before it. */
static void add_point(curve *c, double step, double y) {
    const bucket point = { step, step, y, y, y, 1, 0 };
    if (c->n && step <= c->b[c->n - 1].last) return;
    if (!c->n || y < c->least) c->least = y, c->least_step = step;
    c->value = y;
    if (c->n && c->b[c->n - 1].n < c->per) {
        join(&c->b[c->n - 1], &point);
        return;
    }
    if (c->n == BUCKETS) { /* all are full: two become one */
        for (int i = 0; i < BUCKETS / 2; i++) {
            c->b[i] = c->b[2 * i];
            join(&c->b[i], &c->b[2 * i + 1]);
        }
        c->n = BUCKETS / 2, c->per *= 2;
    }
    c->b[c->n++] = point;
}

static int is_drawable(pith__json j, double *x) { return pith__json_float(j, x) && fabs(*x) < 1e30; }

/* A line that is not of the log, or was not written to its end, is passed over. */
static void add_line(picture *p, const char *line, size_t n, const char *path) {
    const char *names[CURVE_NAMES] = { "step" };
    pith__json j, v[CURVE_NAMES];
    double step, y;
    memset(v, 0, sizeof v);
    for (int i = 0; i < N_CURVE; i++) names[i + 1] = kinds[i].name;
    if (pith__json_read(&j, line, n, path, NULL) || pith__json_type(j) != '{') return;
    pith__json_pick(j, names, v, CURVE_NAMES);
    if (!is_drawable(v[0], &step) || step < 0) return;
    if (step > p->steps) p->steps = step;
    for (int i = 0; i < N_CURVE; i++)
        if (is_drawable(v[i + 1], &y)) add_point(&p->curve[i], step, y);
}

static int read_log(picture *p, const char *path) {
    char *line = NULL;
    size_t room = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return complain(BAD_DATA, "%s: %s", path, strerror(errno));
    for (ssize_t n; (n = getline(&line, &room, f)) >= 0;) add_line(p, line, (size_t)n, path);
    int failed = ferror(f);
    free(line);
    fclose(f);
    return failed ? complain(BAD_DATA, "%s: cannot be read", path) : 0;
}

/* Near buckets count more than those at the edge of reach. */
static void smooth(curve *c) {
    int reach = c->n / 40;
    for (int i = 0; i < c->n; i++) {
        double sum = 0, n = 0;
        for (int k = i < reach ? 0 : i - reach; k < c->n && k <= i + reach; k++) {
            int weight = reach + 1 - abs(k - i);
            sum += weight * c->b[k].sum, n += weight * c->b[k].n;
        }
        c->b[i].smooth = sum / n;
    }
}

/* ---- scales --------------------------------------------------------------------------------------------- */

typedef struct {         /* the inside of a panel */
    double x, y, w, h;   /* in pixels */
    double low, high;    /* the values at its bottom and top */
    double steps;        /* at its right */
} frame;

/* The raw points of a noisy curve may stand out of the scale: one wild step does not press all others flat. */
static void find_scale(frame *f, const picture *p, int panel) {
    int zero = panels[panel].zero;
    f->low = zero ? 0 : INFINITY, f->high = zero ? 0 : -INFINITY;
    for (int i = 0; i < N_CURVE; i++) {
        if (kinds[i].panel != panel) continue;
        for (const bucket *b = p->curve[i].b; b < p->curve[i].b + p->curve[i].n; b++) {
            double y = kinds[i].kind == NOISY ? b->smooth : b->sum / b->n;
            if (y < f->low) f->low = y;
            if (y > f->high) f->high = y;
        }
    }
    double more = 0.06 * (f->high - f->low), least = 1e-6 * fmax(fabs(f->low), fabs(f->high));
    if (!(more > least)) more = least > 0 ? 1e5 * least : 1; /* a level curve stands in the middle */
    if (!zero || f->low < 0) f->low -= more;
    f->high += more;
}

/* From one tick to the next, so that there are about so many: 1, 2 or 5 times a power of 10. */
static double tick_step(double range, int about) {
    double raw = range / about, power = pow(10, floor(log10(raw))), part = raw / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

/* x, where from one tick to the next it is step: 0.25, 20, 100k, 1.5M, 2e-5. */
static const char *tick_text(char *text, size_t size, double x, double step) {
    int power = fabs(x) > 0 ? (int)floor(log10(fabs(x)) + 1e-9) : 0;
    if (fabs(x) < step / 2) snprintf(text, size, "0");
    else if (step < 9e-4 || power > 8) snprintf(text, size, "%.4ge%d", x / pow(10, power), power);
    else if (step > 9e4) snprintf(text, size, "%gM", x / 1e6);
    else if (step > 9e3) snprintf(text, size, "%gk", x / 1e3);
    else snprintf(text, size, "%.*f", step < 0.9 ? (int)ceil(-log10(step) - 0.01) : 0, x);
    return text;
}

/* Nothing of a curve stands outside. */
static double within(double x, double low, double high) { return x < low ? low : x > high ? high : x; }
static double at_x(const frame *f, double step) { return f->x + f->w * step / f->steps; }
static double at_y(const frame *f, double y) {
    return f->y + f->h - f->h * (within(y, f->low, f->high) - f->low) / (f->high - f->low);
}

/* ---- drawing -------------------------------------------------------------------------------------------- */

static void draw_axes(output *o, const frame *f, const char *title) {
    char text[32];
    double dy = tick_step(f->high - f->low, f->h > 200 ? 6 : 4), dx = tick_step(f->steps, f->w > 500 ? 8 : 4);
    if (dx < 1) dx = 1;
    output_line(o, "<text class=\"title\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", f->x, f->y - 12, title);
    for (double k = ceil(f->low / dy - 1e-9); k * dy <= f->high; k++)
        output_line(o, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/><text class=\"y\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
                    f->x, at_y(f, k * dy), f->w, f->x - 6, at_y(f, k * dy) + 4, tick_text(text, sizeof text, k * dy, dy));
    for (double k = 0; k * dx <= f->steps; k++)
        output_line(o, "<path class=\"tick\" d=\"M%.1f %.1fv4\"/><text class=\"x\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
                    at_x(f, k * dx), f->y + f->h, at_x(f, k * dx), f->y + f->h + 17,
                    tick_text(text, sizeof text, k * dx, dx));
    output_line(o, "<path class=\"tick\" d=\"M%.1f %.1fh%.1f\"/><text class=\"x\" x=\"%.1f\" y=\"%.1f\">step</text>\n", f->x,
                f->y + f->h, f->w, f->x + f->w, f->y + f->h + 30);
}

static double middle(const bucket *b) { return (b->first + b->last) / 2; }

/* The lowest and the highest of each bucket. */
static void draw_raw(output *o, const frame *f, const curve *c) {
    output_line(o, "<polyline class=\"raw\" points=\"");
    for (const bucket *b = c->b; b < c->b + c->n; b++) {
        output_line(o, "%.1f,%.1f ", at_x(f, middle(b)), at_y(f, b->low));
        if (b->n > 1) output_line(o, "%.1f,%.1f ", at_x(f, middle(b)), at_y(f, b->high));
    }
    output_line(o, "\"/>\n");
}

static void draw_line(output *o, const frame *f, const curve *c, int kind) {
    output_line(o, "<polyline class=\"%s\" points=\"", kind == MEASURED ? "measured" : "train");
    for (const bucket *b = c->b; b < c->b + c->n; b++)
        output_line(o, "%.1f,%.1f ", at_x(f, middle(b)), at_y(f, kind == NOISY ? b->smooth : b->sum / b->n));
    output_line(o, "\"/>\n");
}

/* A browser shows the numbers of a mark when the mouse is on it. */
static void draw_marks(output *o, const frame *f, const curve *c, int kind) {
    for (const bucket *b = c->b; b < c->b + c->n; b++)
        output_line(o, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>step %.0f: %.5g</title></circle>\n",
                    kind == MEASURED ? "mark" : "dot", at_x(f, middle(b)), at_y(f, b->sum / b->n), b->last, b->sum / b->n);
}

static void draw_curve(output *o, const frame *f, const curve *c, int kind) {
    if (kind == NOISY) draw_raw(o, f, c);
    draw_line(o, f, c, kind);
    if (c->n <= (kind == MEASURED ? MARKS : 1)) draw_marks(o, f, c, kind);
}

/* The last numbers, at the right above the panel. */
static void draw_legend(output *o, const picture *p, const frame *f, int panel) {
    output_line(o, "<text class=\"legend\" x=\"%.1f\" y=\"%.1f\">", f->x + f->w, f->y - 12);
    for (int i = 0; i < N_CURVE; i++) {
        const curve *c = &p->curve[i];
        if (kinds[i].panel != panel || !c->n) continue;
        if (*kinds[i].label)
            output_line(o, "\xc2\xa0 \xc2\xa0<tspan class=\"%s\">%s</tspan> %s ", kinds[i].kind == MEASURED ? "is-measured" : "is-train",
                        kinds[i].kind == MEASURED ? "\xe2\x80\x94\xe2\x97\x8f\xe2\x80\x94" : "\xe2\x80\x94\xe2\x80\x94",
                        kinds[i].label);
        output_line(o, "%.4g", kinds[i].kind == NOISY ? c->b[c->n - 1].smooth : c->value);
        if (kinds[i].kind == MEASURED && panel == LOSS && c->n > 1)
            output_line(o, ", lowest %.4g at step %.0f", c->least, c->least_step);
    }
    output_line(o, "</text>\n");
}

static int has_panel(const picture *p, int panel) {
    for (int i = 0; i < N_CURVE; i++)
        if (kinds[i].panel == panel && p->curve[i].n) return 1;
    return 0;
}

static void draw_panel(picture *p, frame f, int panel) {
    find_scale(&f, p, panel);
    draw_axes(&p->o, &f, panels[panel].title);
    for (int i = 0; i < N_CURVE; i++)
        if (kinds[i].panel == panel && p->curve[i].n) draw_curve(&p->o, &f, &p->curve[i], kinds[i].kind);
    draw_legend(&p->o, p, &f, panel);
}

static const char style[] =
    "<style>\n"
    "svg { background: #fff; font: 12px system-ui, sans-serif; }\n"
    "text { fill: #24292f; }\n"
    ".head { font-size: 15px; font-weight: 600; } .title { font-weight: 600; }\n"
    ".x, .y, .legend { font-size: 11px; } .x, .y { fill: #57606a; }\n"
    ".x { text-anchor: middle; } .y, .legend { text-anchor: end; }\n"
    ".grid { stroke: #e1e4e8; } .tick { stroke: #8c959f; }\n"
    "path, polyline { fill: none; } polyline { stroke-linejoin: round; }\n"
    ".raw { stroke: #0072b2; stroke-opacity: .3; } .train { stroke: #0072b2; stroke-width: 2; }\n"
    ".measured { stroke: #d55e00; stroke-width: 1.5; } .mark { fill: #d55e00; } .dot { fill: #0072b2; }\n"
    ".is-train { fill: #0072b2; } .is-measured { fill: #d55e00; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "svg { background: #15181c; } text { fill: #e6e8eb; } .x, .y { fill: #9aa4af; }\n"
    ".grid { stroke: #2b3037; } .tick { stroke: #6b7480; }\n"
    ".raw, .train { stroke: #56b4e9; } .measured { stroke: #e69f00; } .mark { fill: #e69f00; } .dot { fill: #56b4e9; }\n"
    ".is-train { fill: #56b4e9; } .is-measured { fill: #e69f00; }\n"
    "}\n"
    "</style>\n";

enum { WIDTH = 960, HEAD = 40, TALL = 300, LOW = 200, LEFT = 62, RIGHT = 18, ABOVE = 36, BELOW = 40 };

/* The loss over the whole width, the others below, two side by side. */
static void draw(picture *p) {
    int small = 0, tall = has_panel(p, LOSS) ? TALL : 0;
    for (int i = LOSS + 1; i < N_PANEL; i++) small += has_panel(p, i);
    int height = HEAD + tall + (small + 1) / 2 * LOW;
    output_line(&p->o, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\""
                " height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n<title>Curves of a training</title>\n%s", WIDTH, height,
                WIDTH, height, style);
    output_line(&p->o, p->steps > 0 ? "<text class=\"head\" x=\"%d\" y=\"26\">Training, step %.0f</text>\n" :
                "<text class=\"head\" x=\"%d\" y=\"26\">Training, before the first step</text>\n", LEFT, p->steps);
    double steps = p->steps > 1 ? p->steps : 1;
    frame wide = { LEFT, HEAD + ABOVE, WIDTH - LEFT - RIGHT, TALL - ABOVE - BELOW, 0, 0, steps };
    if (tall) draw_panel(p, wide, LOSS);
    for (int i = LOSS + 1, k = 0; i < N_PANEL; i++) {
        if (!has_panel(p, i)) continue;
        double x = k % 2 * (WIDTH / 2), y = HEAD + tall + k / 2 * LOW;
        draw_panel(p, (frame){ x + LEFT, y + ABOVE, WIDTH / 2 - LEFT - RIGHT, LOW - ABOVE - BELOW, 0, 0, steps }, i);
        k++;
    }
    output_line(&p->o, "</svg>\n");
}

int curves_write(const char *log, const char *svg) {
    picture *p = calloc(1, sizeof *p);
    if (!p) return complain(FAILED, "no memory for %s", svg);
    for (int i = 0; i < N_CURVE; i++) p->curve[i].per = 1;
    int code = read_log(p, log);
    if (!code) code = output_open(&p->o, svg, NULL);
    if (!code) {
        for (int i = 0; i < N_CURVE; i++) smooth(&p->curve[i]);
        draw(p);
        code = output_close(&p->o, 1);
    }
    free(p);
    return code;
}
