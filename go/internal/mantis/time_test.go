package mantis

import (
	"testing"
	"time"
)

func TestDeadlineIsAPositiveNumberOrNever(t *testing.T) {
	for name, one := range map[string]struct {
		moment time.Time
		wanted int64
	}{
		"when both clocks were read": {clock, clockNs},
		"a second later":             {clock.Add(time.Second), clockNs + 1e9},
		"the last that C can tell":   {clock.Add(time.Duration(Never - 1 - clockNs)), Never - 1},
		"one more":                   {clock.Add(time.Duration(Never - clockNs)), Never},
		"further than a duration":    {time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC), Never},
		"when C's clock began":       {clock.Add(-time.Duration(clockNs)), 1},
		"before that":                {time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC), 1},
	} {
		if is := DeadlineAt(one.moment); is != one.wanted {
			t.Errorf("%s: %d, not %d", name, is, one.wanted)
		}
	}
}
