// Ratings: how many stars a book has. Standard library only; run with `go run ratings.go`.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "9080"
	}
	http.HandleFunc("/", func(writer http.ResponseWriter, request *http.Request) {
		writer.Header().Set("content-type", "application/json")
		answer := map[string]any{"service": "ratings", "language": "Go", "stars": 4}
		if err := json.NewEncoder(writer).Encode(answer); err != nil {
			log.Print(err)
		}
	})
	log.Fatal(http.ListenAndServe("0.0.0.0:"+port, nil))
}
