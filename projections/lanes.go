package projections

import "hash/fnv"

// LaneOf is the lane of an order: fixed for as long as a generation lives.
func LaneOf(orderID string) int {
	h := fnv.New32a()
	h.Write([]byte(orderID))
	return int(h.Sum32() % Lanes)
}
