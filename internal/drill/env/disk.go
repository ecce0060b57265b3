package env

import (
	"context"
	"fmt"

	"nsqraft/internal/localcluster"
)

// fillDisk leaves no room on a disk. A node without one of its own finds no room for its
// log.
func fillDisk(ctx context.Context, p *localcluster.Process, disk *volume) (undo, bool, error) {
	if disk == nil {
		return meddleWithLog(ctx, p, logFull)
	}
	free := func(context.Context) error { return disk.free() }
	if err := disk.fill(); err != nil {
		return free, false, err
	}
	return free, disk.full(), nil
}

// hangDisk lets every write to a disk wait. Of a node without one of its own the writes
// to its log wait.
func hangDisk(ctx context.Context, p *localcluster.Process, disk *volume) (undo, bool, error) {
	if disk == nil {
		return meddleWithLog(ctx, p, logHung)
	}
	thaw := func(context.Context) error { return disk.thaw() }
	if err := disk.freeze(); err != nil {
		return thaw, false, err
	}
	return thaw, disk.frozen(), nil
}

func meddleWithLog(ctx context.Context, p *localcluster.Process, m meddling) (undo, bool, error) {
	if p.Role != localcluster.Lookupd {
		return nil, false, fmt.Errorf("%s has no file system of its own, which needs root", p.Name)
	}
	return meddle(ctx, p.PID(), m)
}

// cutPower lets a disk forget what was not synced, and ends p at the same time: the
// other way round, what p has written could still be synced.
func (e *Processes) cutPower(p *localcluster.Process, disk *volume) (undo, bool, error) {
	if err := disk.cutPower(); err != nil {
		return nil, false, err
	}
	on := func(ctx context.Context) error {
		if err := disk.attach(); err != nil {
			return err
		}
		return start(p)(ctx)
	}
	off := !disk.writable()
	_, verified, err := e.kill(context.Background(), p)
	if err != nil {
		return on, false, err
	}
	return on, verified && off, disk.detach()
}
