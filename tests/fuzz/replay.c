/* Runs a target on its corpus without a fuzzer: each file as it is, cut off at every offset, and
 * changed in ways that are the same each time.
 *
 *     fuzz-NAME FOLDER      prints TAP
 *     fuzz-NAME FILE…       runs just these */
#include "base/random.h"
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

#define FILES_MAX 4096
#define SIZE_MAX_BYTES (1u << 20)
#define CUTS_MAX 2048
#define CHANGES 200

static void run(const uint8_t *data, size_t size) {
    uint8_t *copy = copy_of(data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* Another input that is almost the same. */
static void run_changed(const uint8_t *data, size_t size, mp_random *random) {
    uint8_t *copy = copy_of(data, size);
    for (uint64_t left = 1 + mp_random_below(random, 4); size && left; left--) {
        size_t place = mp_random_below(random, size);
        uint64_t how = mp_random_below(random, 4);
        if (how == 0) copy[place] ^= (uint8_t)(1 << mp_random_below(random, 8));
        else if (how == 1) copy[place] = (uint8_t)mp_random_next(random);
        else if (how == 2) copy[place] = (uint8_t) - (int)mp_random_below(random, 2);
        else memmove(copy + place, copy + place / 2, size - place);
    }
    run(copy, size);
    free(copy);
}

static bool read_file(const char *path, uint8_t **data, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    *data = malloc(SIZE_MAX_BYTES);
    *size = *data ? fread(*data, 1, SIZE_MAX_BYTES, file) : 0;
    fclose(file);
    return *data != NULL;
}

/* False: it cannot be read. */
static bool replay(const char *path, bool is_changed) {
    uint8_t *data;
    size_t size;
    mp_random random;
    if (!read_file(path, &data, &size)) return false;
    mp_random_start(&random, 20241123);
    run(data, size);
    for (size_t cut = 0; is_changed && cut < size && cut < CUTS_MAX; cut++) run(data, cut);
    for (int change = 0; is_changed && change < CHANGES; change++) run_changed(data, size, &random);
    free(data);
    return true;
}

static int replay_folder(const char *folder) {
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), files = 0;
    bool is_well = count >= 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') is_well &= replay(path, true), files++;
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    is_well &= files > 0;
    printf("1..1\n%sok 1 - the_corpus_replays_whole_cut_and_changed\n# %d files of %s\n",
           is_well ? "" : "not ", files, folder);
    return is_well ? 0 : 1;
}

int main(int count, char **paths) {
    struct stat about;
    if (count == 2 && stat(paths[1], &about) == 0 && S_ISDIR(about.st_mode))
        return replay_folder(paths[1]);
    for (int i = 1; i < count; i++)
        if (!replay(paths[i], false)) return 1;
    return 0;
}
