// Package diskqueue is nsqd's queue on disk: a FIFO of byte slices in the files
// of nsqio/go-diskqueue 1.1, which opens ours as we open its.
//
// It promises that what was put comes back, in the order in which it was put, at
// least once; that after Sync, or after Put with SyncEvery 1, this holds for a
// power cut too; that a Put that returned an error of the write has left nothing;
// that a failed read moves nothing; and that damage costs what is damaged, which
// is told and kept in a file called .bad. After a crash the messages of the last
// SyncTimeout may come twice.
//
// It leaves to its caller what a message is, a lock against a second process in
// the folder, and when to stop putting into a disk that is full.
//
// The files: <name>.diskqueue.%06d.dat, the segments, are frames of a big-endian
// int32 length and as many bytes. A segment is full when the next frame would
// make it longer than MaxBytesPerFile. <name>.diskqueue.meta.dat has three lines:
// the depth; segment and offset of the reader; of the writer. Positions are
// written after the messages they speak of, and segments removed after that, so
// the meta file is never ahead of them; where it is behind, Open reads the
// segments from there on.
//
// On a full disk positions cannot be written, and room comes from removing what
// was read. So the meta file is emptied before that, and written after it; an
// Open that finds it empty reads all there is.
//
//	queue.go    Options, Queue and its state; Open, Close, Empty, Delete, Depth
//	put.go      appending: Put, PutFrames
//	next.go     reading: Next, Release; what happens at damage
//	sync.go     rounds: group commit, positions, removal; the background
//	recover.go  the meta file; what Open finds
//	scan.go     frames in a segment; where they go on after damage
//	disk.go     the calls of the operating system, for tests to make fail
//
// The locks, in the order in which they are taken: a round (there is one at a
// time, see beginLocked), writing, reading, mu. Only mu is taken by all, and
// never held over I/O.
//
// There is one goroutine, and only for a while: that of a timer, which tick runs
// on. The first change arms it, and SyncTimeout after the last one it closes the
// files and is armed no more. Close and Delete wait for it.
package diskqueue
