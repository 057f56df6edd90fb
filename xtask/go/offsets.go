// Where a Go program keeps what Spanlet's kernel programs read. In: names of fields, separated by spaces; executables that
// have DWARF. Out: for each, a line of the release it was built by and the byte offsets of those fields, as in
// agent/src/attach/golang/offsets.txt.
package main

import (
	"debug/buildinfo"
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"os"
	"strings"
)

// Each a structure and a path of fields through it.
var wanted [][]string

func main() {
	for _, name := range strings.Fields(os.Args[1]) {
		wanted = append(wanted, path(name))
	}
	for _, path := range os.Args[2:] {
		fmt.Println(line(path))
	}
}

// path splits net/http.persistConn.conn: a package's path has dots of its own only before its last slash.
func path(name string) []string {
	start := strings.LastIndex(name, "/") + 1
	words := strings.Split(name[start:], ".")
	structure := name[:start] + words[0] + "." + words[1]
	return append([]string{structure}, words[2:]...)
}

func line(path string) string {
	build := must(buildinfo.ReadFile(path))
	structures := structures(must(must(elf.Open(path)).DWARF()))
	words := []string{strings.TrimPrefix(build.GoVersion, "go")}
	for _, field := range wanted {
		words = append(words, offset(structures, field))
	}
	return strings.Join(words, " ")
}

func structures(data *dwarf.Data) map[string]*dwarf.StructType {
	found := map[string]*dwarf.StructType{}
	for reader := data.Reader(); ; {
		entry := must(reader.Next())
		if entry == nil {
			return found
		}
		name, _ := entry.Val(dwarf.AttrName).(string)
		if entry.Tag == dwarf.TagStructType && isWanted(name) {
			found[name] = must(data.Type(entry.Offset)).(*dwarf.StructType)
		}
	}
}

func isWanted(name string) bool {
	for _, field := range wanted {
		if field[0] == name {
			return true
		}
	}
	return false
}

// "-": this release has no such field.
func offset(structures map[string]*dwarf.StructType, field []string) string {
	structure, total := structures[field[0]], int64(0)
	for _, name := range field[1:] {
		member := member(structure, name)
		if member == nil {
			return "-"
		}
		total += member.ByteOffset
		structure = structureOf(member.Type)
	}
	return fmt.Sprint(total)
}

func member(structure *dwarf.StructType, name string) *dwarf.StructField {
	if structure == nil {
		return nil
	}
	for _, field := range structure.Field {
		if field.Name == name {
			return field
		}
	}
	return nil
}

func structureOf(kind dwarf.Type) *dwarf.StructType {
	if named, ok := kind.(*dwarf.TypedefType); ok {
		kind = named.Type
	}
	structure, _ := kind.(*dwarf.StructType)
	return structure
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}
