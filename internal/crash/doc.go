// Package crash enumerates the instants at which the machine may stop. Its
// tests record every write, sync, truncate and change of a name of the real
// program (disktest), make from any prefix of the record a folder that a crash
// may leave, open it again on the real system, and ask: is everything that was
// acknowledged there, with the answer that it got; is nothing half there, and
// nothing that was never sent; does the store write on; do the views come to
// equal the log. There is no code here that is not a test's.
//
// A point is a scenario and a number. It chooses the prefix and what of the rest
// is there, always in the same way, and a point that fails says how to repeat
// it.
package crash
