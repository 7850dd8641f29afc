/* t_gptoss.c - gpt-oss: the clamp of its networks. */
#include "../internal.h"
#include "test.h"

TEST(networks_are_clamped) {
    static const float limits[] = { 7, 1.5f }, alphas[] = { 1.702f, 0.5f };
    enum { N = 83 };
    float gate[N + 1], up[N + 1], y[N + 1];
    double want[N];
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < N; i++) {
            gate[i] = (float)((i * 37) % N - N / 2) * 0.4f, up[i] = (float)((i * 29) % N - N / 2) * 0.3f;
            double g = fmin((double)gate[i], (double)limits[k]), u = fmax(fmin((double)up[i], (double)limits[k]), -(double)limits[k]);
            want[i] = (u + 1) * g / (1 + exp(-(double)alphas[k] * g));
        }
        gate[N] = 1, up[N] = NAN;
        pith__clamp_row(gate, up, N + 1, limits[k], alphas[k]);
        pith__portable(NULL)->gate(y, gate, up, N + 1, PITH__SILU);
        for (int i = 0; i < N; i++) NEAR(y[i], want[i], 1e-5 * (1 + fabs(want[i])));
        CHECK(isnan(y[N])); /* a wrong result must not look right */
    }
}

int main(void) {
    RUN(networks_are_clamped);
    return DONE();
}
