package main

// ballast is never touched, and so takes address space but no memory. The garbage
// collector counts it as live and lets the heap grow by as much before it runs:
// without it, a small registry under many lookups is collected dozens of times a
// second. What is resident grows by up to its size; GOMEMLIMIT is obeyed as ever.
var ballast = make([]byte, 32<<20)
