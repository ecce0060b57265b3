package nsqd

import "github.com/hashicorp/go-hclog"

func openDiskQueue(o *Options, name string, failed func(error), log hclog.Logger) (diskQueue, error) {
	return &memQueue{}, nil
}

type memQueue struct{ m [][]byte }

func (q *memQueue) PutFrames(f []byte, n int) error { panic("dq") }
func (q *memQueue) Sync() error                     { return nil }
func (q *memQueue) Next(a, b int) ([][]byte, error) { return nil, nil }
func (q *memQueue) Release(n int64)                 {}
func (q *memQueue) Depth() int64                    { return 0 }
func (q *memQueue) Empty() error                    { return nil }
func (q *memQueue) Delete() error                   { return nil }
func (q *memQueue) Close() error                    { return nil }
