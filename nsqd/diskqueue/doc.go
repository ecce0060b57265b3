// Package diskqueue is nsqd's FIFO on disk.
package diskqueue
