package pool

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"mantisDB/internal/mantis"
)

// theirs are the settings of the C library: name, default, and whether a negative value is refused.
func theirs(t *testing.T) map[string]string {
	path := filepath.Join("..", "..", "src", "core", "settings.def")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("the sources of the C library are not beside this: %v", err)
	}
	found := map[string]string{}
	row := regexp.MustCompile(`(?m)^MP_SETTING\((\w+), "[^"]*", (-?\d+),`)
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		found[match[1]] = match[2]
	}
	return found
}

// Where Go's default is another.
var otherDefaults = map[string]string{"conns_max": "1000"}

// asWritten is how a default is written in a comment.
var asWritten = map[string]string{
	"idle_timeout_ms 300000": "5 min", "acquire_timeout_ms 10000": "10 s",
	"lifetime_ms 3600000": "1 h", "check_interval_ms 30000": "30 s",
	"check_after_idle_ms -1": "never", "leak_after_ms -1": "never",
	"open_timeout_ms 15000": "15 s", "backoff_min_ms 100": "100 ms", "backoff_max_ms 5000": "5 s",
	"reserve_after_ms 5000": "5 s", "conn_memory_max 1048576": "1 MiB",
}

func TestEverySettingHasAFieldWithItsDefault(t *testing.T) {
	source, err := os.ReadFile("config.go")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for _, setting := range settings {
		fields[setting.name] = setting.field
	}
	for name, value := range theirs(t) {
		field := fields[name]
		if _, has := reflect.TypeOf(PoolConfig{}).FieldByName(field); !has {
			t.Errorf("the setting %s has no field in PoolConfig", name)
			continue
		}
		if other, has := otherDefaults[name]; has {
			value = other
		}
		if written, has := asWritten[name+" "+value]; has {
			value = written
		}
		comment := regexp.MustCompile(`((?:\t//[^\n]*\n)+)\t` + field + ` `).FindSubmatch(source)
		if comment == nil {
			t.Errorf("%s has no comment", field)
			continue
		}
		said := strings.Join(strings.Fields(strings.ReplaceAll(string(comment[1]), "//", " ")), " ")
		is := regexp.MustCompile(`Default: ` + value + `( \(.*\))?\.$`).MatchString(said)
		if !is && field != "FailFast" { // which is a bool
			t.Errorf("the default of %s is %s, and its comment is %q", field, value, said)
		}
	}
	if len(fields) != len(theirs(t)) {
		t.Errorf("%d settings here, and %d in C", len(fields), len(theirs(t)))
	}
}

func TestEveryStatusHasAnError(t *testing.T) {
	texts := map[string]bool{}
	for status := mantis.Status(1); status.Name() != "UNKNOWN"; status++ {
		if kinds[status] == nil {
			t.Errorf("%s has no error", status.Name())
			continue
		}
		if texts[kinds[status].Error()] {
			t.Errorf("%s has the error of another", status.Name())
		}
		texts[kinds[status].Error()] = true
	}
	if len(texts) != len(kinds) {
		t.Errorf("%d statuses, and %d kinds", len(texts), len(kinds))
	}
}
