/* t_os.c - what this process may use, by a /proc and a /sys that are written here. How they look is from the
 * kernel's documentation (cgroup-v1, cgroup-v2.rst) and proc(5). */
#include "base/base.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void put(const char *path, const char *text) { /* makes the folders too */
    char name[512];
    size_t n = (size_t)snprintf(name, sizeof name, "%s%s", root, path);
    for (size_t i = strlen(root) + 1; i < n; i++) {
        if (name[i] != '/') continue;
        name[i] = 0;
        mkdir(name, 0777);
        name[i] = '/';
    }
    FILE *f = fopen(name, "w");
    if (!f) FAIL("%s cannot be written", name);
    else fputs(text, f), fclose(f);
}

static void remove_root(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    if (system(command)) FAIL("%s stays", root);
}

/* A new, empty root. */
static void begin(void) {
    snprintf(root, sizeof root, "/tmp/pith_os_XXXXXX");
    if (!mkdtemp(root)) FAIL("no folder in /tmp");
}

static pith__resources unlimited(void) { return pith__may_use("/nowhere"); }

static int at_most(int n) { return n < unlimited().cores ? n : unlimited().cores; }

TEST(without_groups_it_is_the_machine) {
    begin();
    pith__resources r = pith__may_use(root);
    CHECK(r.cores >= 1 && r.cpus >= r.cores);
    CHECK(r.memory > 1e6);
    EQ(r.cores, unlimited().cores);
    remove_root();
}

TEST(version_2_and_the_least_limit_up_the_tree) {
    begin();
    put("/proc/self/cgroup", "0::/a/b c\n");
    put("/proc/self/mountinfo", "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
                                "35 24 0:30 / /sys/fs/cg\\0402 rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    put("/sys/fs/cg 2/a/b c/cpu.max", "max 100000\n");
    put("/sys/fs/cg 2/a/cpu.max", "150000 100000\n");
    put("/sys/fs/cg 2/a/b c/memory.max", "2000000\n");
    put("/sys/fs/cg 2/a/memory.max", "max\n");
    put("/sys/fs/cg 2/memory.max", "3000000\n");
    pith__resources r = pith__may_use(root);
    EQ(r.cores, 1); /* rounded down */
    EQ(r.cpus, 1);
    EQ(r.memory, 2000000);
    put("/sys/fs/cg 2/a/memory.max", "1000000\n");
    put("/sys/fs/cg 2/a/cpu.max", "250000 100000\n");
    r = pith__may_use(root);
    EQ(r.cores, at_most(2));
    EQ(r.memory, 1000000);
    put("/sys/fs/cg 2/a/b c/cpu.max", "5000 100000\n"); /* a twentieth of a processor is still one thread */
    EQ(pith__may_use(root).cores, 1);
    remove_root();
}

/* As Docker shows it without a namespace of its own: the group's path is the host's, the mount begins there. */
TEST(version_1_with_a_mount_that_begins_inside) {
    begin();
    put("/proc/self/cgroup", "9:name=systemd:/docker/id\n4:memory:/docker/id/x\n3:cpuset:/y\n2:cpu,cpuacct:/docker/id\n");
    put("/proc/self/mountinfo",
        "41 30 0:35 /docker/id /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
        "42 30 0:36 /y /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n"
        "43 30 0:37 /docker/id /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "5000000\n");
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
    pith__resources r = pith__may_use(root);
    EQ(r.cores, unlimited().cores);
    EQ(r.memory, 5000000);
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
    EQ(pith__may_use(root).cores, 1);
    remove_root();
}

TEST(a_group_outside_the_mount_counts_as_its_top) {
    begin();
    put("/proc/self/cgroup", "0::/../other\n");
    put("/proc/self/mountinfo", "35 24 0:30 / /c rw - cgroup2 none rw\n");
    put("/c/memory.max", "4000000\n");
    put("/other/memory.max", "1000\n");
    EQ(pith__may_use(root).memory, 4000000);
    put("/proc/self/cgroup", "0::/dock\n");
    put("/proc/self/mountinfo", "35 24 0:30 /docker /c rw - cgroup2 none rw\n");
    EQ(pith__may_use(root).memory, 4000000);
    remove_root();
}

TEST(strange_files_limit_nothing) {
    begin();
    put("/proc/self/cgroup", "0::\nx\n::::\n:\n4:cpu\n");
    put("/proc/self/mountinfo", "- cgroup2\n1 2 3 / /c - cgroup2\n1 2 3 / /c rw - cgroup2 none rw\n");
    put("/c/memory.max", "");
    put("/c/cpu.max", "100000\n");
    pith__resources r = pith__may_use(root);
    EQ(r.cores, unlimited().cores);
    EQ(r.memory, unlimited().memory);
    remove_root();
}

/* ---- a team ---------------------------------------------------------------------------------- */

#ifdef _OPENMP
enum { TASKS = 200 };

typedef struct {
    pith__team *team;
    int share, together, done[TASKS];
} team_job;

/* The caller is quick, others take long. */
static void task(const void *data, size_t i, uint8_t *scratch) {
    team_job *j = ((team_job *const *)data)[0];
    j->done[i]++;
    double since = pith__seconds(), takes = scratch == j->team->scratch ? 20e-6 : 20e-3;
    while (pith__seconds() - since < takes) continue;
}

static void share(void *data) {
    team_job *j = data;
    j->together = j->team->crew != NULL;
    if (j->share) pith__share(j->team, TASKS, 1, task, &j);
}
#endif

TEST(threads_that_cost_more_than_they_bring_stay_away) {
#ifdef _OPENMP
    if (pith__threads(2) < 2) SKIP("one thread");
    for (int shares = 0; shares < 2; shares++) {
        uint8_t scratch[2];
        pith__team team = { .n_threads = 2, .scratch = scratch, .scratch_bytes = 1 };
        team_job j = { .team = &team, .share = shares };
        pith__together(&team, share, &j);
        CHECK(j.together && team.alone > 0);
        pith__together(&team, share, &j);
        CHECK(!j.together);
        team.alone = 0;
        pith__together(&team, share, &j);
        CHECK(j.together);
        for (int i = 0; i < TASKS; i++) EQ(j.done[i], shares ? 3 : 0);
    }
#else
    SKIP("no OpenMP");
#endif
}

int main(void) {
    RUN(threads_that_cost_more_than_they_bring_stay_away);
    RUN(without_groups_it_is_the_machine);
    RUN(version_2_and_the_least_limit_up_the_tree);
    RUN(version_1_with_a_mount_that_begins_inside);
    RUN(a_group_outside_the_mount_counts_as_its_top);
    RUN(strange_files_limit_nothing);
    return DONE();
}
