// Reviews of a book, with stars asked from ratings. Standard library only; run with `java Reviews.java`.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

public class Reviews {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "9080"));
        String version = System.getenv().getOrDefault("SERVICE_VERSION", "v3");
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 128);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.createContext("/", exchange -> {
            String path = exchange.getRequestURI().getPath();
            int status = 200;
            String body;
            try {
                String stars = "";
                if (!path.equals("/healthz")) {
                    URI ratings = URI.create("http://ratings:9080/ratings/" + path.substring(path.lastIndexOf('/') + 1));
                    HttpResponse<String> answer =
                        client.send(HttpRequest.newBuilder(ratings).build(), HttpResponse.BodyHandlers.ofString());
                    stars = ", \"stars\": " + answer.body().replaceAll("(?s).*\"stars\":\\s*(\\d+).*", "$1");
                }
                body = "{\"service\": \"reviews\", \"version\": \"" + version
                    + "\", \"language\": \"Java\", \"text\": \"A fine read.\"" + stars + "}\n";
            } catch (Exception error) {
                status = 502;
                body = "{\"error\": 502, \"reason\": \"ratings did not answer\"}\n";
            }
            byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("content-type", "application/json");
            exchange.sendResponseHeaders(status, bytes.length);
            exchange.getResponseBody().write(bytes);
            exchange.close();
        });
        server.start();
    }
}
