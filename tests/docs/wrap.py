"""What is around a fragment: the rest of the program in which a document's reader would put it."""

import re

C_HEAD = """#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
"""

C_OPEN = """
int main(void) {
    mantis_pool_config config = {
        .connector = &mantis_embedded, .dsn = "mantis::memory:", .conns_min = 2, .conns_max = 8};
    mantis_pool *pool = NULL;
    mantis_conn conn = {0};
    mantis_value value = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_open(&pool, &config, &error);
    if (status == MANTIS_OK && BORROWS) status = mantis_pool_acquire(pool, 0, &conn, &error);
    if (status != MANTIS_OK) return 1;
    {
"""

C_CLOSE = """
#line 1 "around the fragment"
    }
    if (error.status != MANTIS_OK) fprintf(stderr, "%s\\n", error.text);
    mantis_value_free(&value);
    mantis_conn_release(&conn);
    if (mantis_pool_close(&pool, mantis_deadline_ms(1000)) != MANTIS_OK) {
        fprintf(stderr, "a connection was not released\\n");
        return 1;
    }
    return error.status != MANTIS_OK;
}
"""

GO_PACKAGES = {  # what a fragment may use without saying where it comes from
    "atomic": "sync/atomic", "bytes": "bytes", "context": "context", "errors": "errors",
    "fmt": "fmt", "http": "net/http", "io": "io", "json": "encoding/json", "log": "log",
    "net": "net", "os": "os", "pool": "mantisDB/pool", "rand": "math/rand", "runtime": "runtime",
    "signal": "os/signal", "store": "mantisDB/store", "strconv": "strconv", "strings": "strings",
    "sync": "sync", "time": "time",
}

GO_OPEN = """
func fragment(ctx context.Context, p *pool.ConnectionPool) error {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	{
"""

GO_CLOSE = """
	}
	return nil
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := pool.NewConnectionPool(&pool.PoolConfig{DSN: "mantis::memory:"})
	if err == nil {
		err = fragment(ctx, p)
		p.Close()
	}
	if err != nil {
		log.Fatal(err)
	}
}
"""


def c_is_program(text):
    return bool(re.search(r"^int main\(", text, re.MULTILINE))


def split_includes(text):
    """(its #include lines, the rest with the same number of lines)."""
    includes = re.findall(r"^\s*#\s*include .*$", text, re.MULTILINE)
    return includes, re.sub(r"^\s*#\s*include .*$", "", text, flags=re.MULTILINE)


def c_file_level(block, headers):
    """A fragment of declarations and functions, as a file of its own."""
    includes, rest = split_includes(block.text)
    lines = [C_HEAD, *(f"#include <mantis/{name}>" for name in headers), *includes,
             f'#line {block.line} "{block.path}"', rest]
    return "\n".join(lines)


def c_function(block, headers):
    """A fragment of statements, in a program that has a pool, and a connection if the fragment does
    not take one itself."""
    includes, rest = split_includes(block.text)
    borrows = f"#define BORROWS {int('acquire(' not in rest)}"
    lines = [C_HEAD, borrows, *(f"#include <mantis/{name}>" for name in headers), *includes, C_OPEN,
             f'#line {block.line} "{block.path}"', rest, C_CLOSE]
    return "\n".join(lines)


def go_is_program(text):
    return bool(re.search(r"^package ", text, re.MULTILINE))


def go_at_line(block, text):
    return f"//line {block.path}:{block.line}\n{text}"


def go_split_imports(text):
    """(paths, the rest with the same number of lines)."""
    paths = []

    def take(match):
        paths.extend(re.findall(r'"([^"]+)"', match.group(0)))
        return "\n" * match.group(0).count("\n")

    rest = re.sub(r'^import (?:\(.*?^\)|"[^"]+")', take, text, flags=re.DOTALL | re.MULTILINE)
    return paths, rest


def go_program(block):
    """The whole program of a block of Go."""
    if go_is_program(block.text):
        return block.text
    paths, rest = go_split_imports(block.text)
    if re.search(r"^(func|type) ", rest, re.MULTILINE):
        body = go_at_line(block, rest) + GO_OPEN + GO_CLOSE
    else:
        names = re.findall(r"^([\w, ]+?) :=", rest, re.MULTILINE)
        used = {word.strip() for some in names for word in some.split(",")} - {"_"}
        keep = "".join(f"\t_ = {name}\n" for name in sorted(used))
        body = GO_OPEN + go_at_line(block, rest) + keep + GO_CLOSE
    known = {path.split("/")[-1] for path in paths}
    paths += [path for name, path in GO_PACKAGES.items()
              if name not in known and re.search(rf"\b{name}\.[A-Z]", body)]
    imports = "".join(f'import "{path}"\n' for path in sorted(set(paths)))
    return f"package main\n\n{imports}\n{body}"
