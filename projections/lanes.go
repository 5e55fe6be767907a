package projections

import "hash/fnv"

// LaneOf is the lane of an order: fixed for as long as a generation lives.
func LaneOf(orderID string) int {
	h := fnv.New32a()
	h.Write([]byte(orderID))
	return int(h.Sum32() % Lanes)
}

// placesOf tells where in lanes each lane is: -1 when it is not.
func placesOf(lanes []Checkpoint) (at [Lanes]int) {
	for lane := range at {
		at[lane] = -1
	}
	for i, c := range lanes {
		at[c.Lane] = i
	}
	return at
}
