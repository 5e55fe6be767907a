package importer

import "time"

// clock reads times that are written without a zone; the zero value reads them
// as UTC.
type clock struct{ zone *time.Location }

// moment is an instant of a data set, by the second; the zero value is none.
type moment struct {
	unix  int64
	known bool
	// skipped: the source wrote a local time that did not exist, and the moment
	// is as far after the change of the clocks as that time was into the gap.
	skipped bool
}

func (m moment) Time() time.Time { return time.Unix(m.unix, 0).UTC() }

// Read reads 2006-01-02 15:04:05; it reports whether the text is such a time. A
// local time that occurs twice, when the clocks go back, is the first.
func (c clock) Read(text string) (moment, bool) {
	wall, err := time.Parse(time.DateTime, text)
	if err != nil || len(text) != len(time.DateTime) {
		return moment{}, false
	}
	if c.zone == nil || c.zone == time.UTC {
		return moment{unix: wall.Unix(), known: true}, true
	}
	// The offsets before and after any change of the clocks nearby.
	_, before := wall.AddDate(0, 0, -1).In(c.zone).Zone()
	_, after := wall.AddDate(0, 0, 1).In(c.zone).Zone()
	early := wall.Add(-time.Duration(before) * time.Second)
	if sameWall(early.In(c.zone), wall) {
		return moment{unix: early.Unix(), known: true}, true
	}
	late := wall.Add(-time.Duration(after) * time.Second)
	if sameWall(late.In(c.zone), wall) {
		return moment{unix: late.Unix(), known: true}, true
	}
	return moment{unix: early.Unix(), known: true, skipped: true}, true
}

func sameWall(a, b time.Time) bool {
	return a.Format(time.DateTime) == b.Format(time.DateTime)
}
