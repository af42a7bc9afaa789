// Package imports holds the test of which package of this module may import
// what. Dependencies point downwards only, so that each part can be understood,
// tested and replaced without those above it.
package imports
