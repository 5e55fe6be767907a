package projections

import "time"

// rateOver is the time that a rate is taken over, once so much has passed: it
// follows a build that makes way, and does not jump with each report.
const rateOver = 5 * time.Second

// meter tells how fast a phase of a build goes.
type meter struct {
	older, newer mark // the rate is taken from the older one on
}

type mark struct {
	at   time.Time
	done int64
}

// begin begins with a phase of which nothing is done.
func (m *meter) begin(now time.Time) {
	m.older = mark{at: now}
	m.newer = m.older
}

// rate of what is done by now, in a second; 0 while nothing is known.
func (m *meter) rate(now time.Time, done int64) float64 {
	if now.Sub(m.newer.at) >= rateOver {
		m.older, m.newer = m.newer, mark{now, done}
	}
	if d := now.Sub(m.older.at).Seconds(); d > 0 {
		return float64(done-m.older.done) / d
	}
	return 0
}

// left is the time that the rest of a phase takes at a rate, done being that part
// of the whole; 0 while nothing is known.
func left(part, rate float64, done int64) time.Duration {
	if part <= 0 || part >= 1 || rate <= 0 {
		return 0
	}
	return time.Duration(float64(done) * (1 - part) / part / rate * float64(time.Second))
}
