/* Runs a fuzz target over files and folders named on the command line: the committed corpus is a
 * regression test with any compiler, no fuzzer needed. */
#define _GNU_SOURCE /* nftw */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long files;

static int run_file(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)where;
    if (type != FTW_F)
        return 0;
    size_t size = (size_t)info->st_size;
    uint8_t *data = malloc(size + 1); /* exact size below, so that over-reads are seen */
    FILE *in = fopen(path, "rb");
    if (data == NULL || in == NULL || fread(data, 1, size, in) != size) {
        perror(path);
        exit(1);
    }
    (void)fclose(in);
    uint8_t *exact = realloc(data, size > 0 ? size : 1);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    files++;
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (nftw(argv[i], run_file, 16, FTW_PHYS) != 0) {
            perror(argv[i]);
            return 1;
        }
    (void)printf("%s: %lu inputs replayed\n", argv[0], files);
    return files == 0;
}
