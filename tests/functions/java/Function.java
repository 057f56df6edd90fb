// The test function in Java (com.sun.net.httpserver). Contract: ../CONTRACT.md.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.Channels;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.Stream;

public final class Function {
    private static final String NEXT = System.getenv().getOrDefault("NEXT", "");
    private static final byte[] BUFFER = new byte[65536];
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();
    private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static final boolean IS_VIRTUAL = "virtual".equals(System.getenv("THREADS"));
    private static FileOutputStream truth;

    public static void main(String[] arguments) throws IOException {
        // The server writes head and body apart: with Nagle's algorithm each answer would wait for an acknowledgement.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        Arrays.fill(BUFFER, (byte) 'x');
        if (System.getenv("TRUTH") != null) {
            truth = new FileOutputStream(System.getenv("TRUTH"), true);
        }
        String host = System.getenv().getOrDefault("HOST", "127.0.0.1");
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "0"));
        HttpServer server = HttpServer.create(new InetSocketAddress(host, port), 1024);
        server.setExecutor(IS_VIRTUAL ? virtualThreads() : Executors.newCachedThreadPool());
        server.createContext("/", Function::serve);
        server.start();
        System.out.println("listening " + server.getAddress().getPort());
    }

    /** A virtual thread for each request. By its name: this compiles with Java 17 too, which has none. */
    private static Executor virtualThreads() {
        try {
            return (Executor) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (ReflectiveOperationException missing) {
            throw new IllegalStateException(missing);
        }
    }

    private static void serve(HttpExchange exchange) throws IOException {
        long started = System.nanoTime();
        boolean whole;
        try (exchange) {
            whole = answer(exchange);
            if (!whole) {
                record(exchange, started);
            }
            if (route(exchange).equals("/die")) {
                Runtime.getRuntime().halt(3);
            }
        }
        if (whole) {
            record(exchange, started);
        }
    }

    private static String route(HttpExchange exchange) {
        return exchange.getRequestURI().getPath().replaceFirst("^/t/[^/]*/", "/").replaceFirst("^/hop/.*", "/hop");
    }

    /** Whether the answer is to be completed: by the exchange's close, which hands over its last bytes. */
    private static boolean answer(HttpExchange exchange) throws IOException {
        Map<String, String> query = query(exchange.getRequestURI().getRawQuery());
        switch (route(exchange)) {
            case "/hello" -> text(exchange, 200, "hello from java\n");
            case "/delay" -> {
                sleep(number(query, "ms"));
                text(exchange, 200, "delayed " + number(query, "ms") + "\n");
            }
            case "/stream" -> stream(exchange, query);
            case "/big" -> big(exchange, number(query, "bytes"));
            case "/file" -> file(exchange, number(query, "bytes"));
            case "/upload" -> {
                long bytes = discard(exchange.getRequestBody());
                sleep(number(query, "delay"));
                text(exchange, 200, "bytes=" + bytes + "\n");
            }
            case "/error" -> error(exchange, (int) number(query, "status"));
            case "/abort", "/die" -> {
                partial(exchange);
                return false;
            }
            case "/chain" -> chain(exchange, query.getOrDefault("path", ""));
            case "/fan" -> text(exchange, 200, fan((int) number(query, "n"), query.getOrDefault("path", "")));
            case "/hop" -> hop(exchange);
            case "/burn" -> text(exchange, 200, burn(number(query, "ms")));
            case "/echo-headers" -> text(exchange, 200, exchange.getRequestHeaders().entrySet().stream()
                    .flatMap(header -> header.getValue().stream().map(value -> header.getKey() + ": " + value + "\n"))
                    .collect(Collectors.joining()));
            default -> text(exchange, 404, "not found\n");
        }
        return true;
    }

    private static Map<String, String> query(String raw) {
        Map<String, String> parameters = new HashMap<>();
        for (String pair : raw == null ? new String[0] : raw.split("&")) {
            String[] parts = pair.split("=", 2);
            parameters.put(parts[0], parts.length < 2 ? "" : URLDecoder.decode(parts[1], StandardCharsets.UTF_8));
        }
        return parameters;
    }

    private static long number(Map<String, String> query, String parameter) {
        return Long.parseLong(query.getOrDefault(parameter, "0"));
    }

    private static void sleep(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }

    private static void text(HttpExchange exchange, int status, String body) throws IOException {
        bytes(exchange, status, body.getBytes(StandardCharsets.UTF_8));
    }

    private static void bytes(HttpExchange exchange, int status, byte[] body) throws IOException {
        head(exchange, status, body.length);
        if (body.length > 0 && !exchange.getRequestMethod().equals("HEAD")) {
            exchange.getResponseBody().write(body);
        }
    }

    /** The server takes 0 for "chunked" and -1 for "no body". */
    private static void head(HttpExchange exchange, int status, long length) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", "text/plain");
        boolean head = exchange.getRequestMethod().equals("HEAD");
        if (head) {
            exchange.getResponseHeaders().set("Content-Length", Long.toString(length));
        }
        exchange.sendResponseHeaders(status, head || length == 0 ? -1 : length);
    }

    private static void error(HttpExchange exchange, int status) throws IOException {
        text(exchange, status, status == 204 || status == 304 ? "" : "status " + status + "\n");
    }

    private static void stream(HttpExchange exchange, Map<String, String> query) throws IOException {
        boolean sse = number(query, "sse") != 0;
        exchange.getResponseHeaders().set("Content-Type", sse ? "text/event-stream" : "text/plain");
        exchange.sendResponseHeaders(200, 0);
        OutputStream out = exchange.getResponseBody();
        for (long i = 1; i <= number(query, "n"); i++) {
            if (i > 1) {
                sleep(number(query, "ms"));
            }
            String piece = sse ? "data: piece " + i + "\n\n" : "piece " + i + "\n";
            out.write(piece.getBytes(StandardCharsets.UTF_8));
            out.flush();
        }
    }

    private static void big(HttpExchange exchange, long bytes) throws IOException {
        head(exchange, 200, bytes);
        for (long left = bytes; left > 0; left -= Math.min(left, BUFFER.length)) {
            exchange.getResponseBody().write(BUFFER, 0, (int) Math.min(left, BUFFER.length));
        }
    }

    private static void file(HttpExchange exchange, long bytes) throws IOException {
        Path path = Files.createTempFile("function", null);
        try (RandomAccessFile sparse = new RandomAccessFile(path.toFile(), "rw")) {
            Files.delete(path);
            sparse.setLength(bytes);
            head(exchange, 200, bytes);
            if (bytes > 0) {
                sparse.getChannel().transferTo(0, bytes, Channels.newChannel(exchange.getResponseBody()));
            }
        }
    }

    private static long discard(InputStream body) throws IOException {
        byte[] piece = new byte[65536];
        long total = 0;
        for (int read; (read = body.read(piece)) >= 0; ) {
            total += read;
        }
        return total;
    }

    /** Closing an exchange whose body is not complete closes its connection. */
    private static void partial(HttpExchange exchange) throws IOException {
        head(exchange, 200, 1000);
        exchange.getResponseBody().write(BUFFER, 0, 100);
        exchange.getResponseBody().flush();
    }

    private static void chain(HttpExchange exchange, String path) throws IOException {
        int status;
        byte[] body;
        try {
            HttpURLConnection connection = (HttpURLConnection) URI.create(NEXT + path).toURL().openConnection();
            status = connection.getResponseCode();
            try (InputStream in = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
                body = in == null ? new byte[0] : in.readAllBytes();
            }
            // This client takes a body that ends early for a whole one.
            if (body.length < connection.getContentLengthLong()) {
                throw new IOException("the answer was cut off");
            }
        } catch (IOException failure) {
            status = 502;
            body = (failure + "\n").getBytes(StandardCharsets.UTF_8);
        }
        bytes(exchange, status, body);
    }

    private static String fan(int n, String path) {
        HttpRequest request = HttpRequest.newBuilder(URI.create(NEXT + path)).build();
        List<CompletableFuture<Integer>> calls = Stream
                .generate(() -> CLIENT.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())
                        .handle((answer, failure) -> failure == null ? answer.statusCode() : 502))
                .limit(n).toList();
        return calls.stream().map(call -> call.join().toString()).collect(Collectors.joining(",", "fan ", "\n"));
    }

    /** Follows a plan's node. */
    private static void hop(HttpExchange exchange) throws IOException {
        String plan = exchange.getRequestHeaders().getFirst("X-Plan");
        String[] node = node(plan, exchange.getRequestHeaders().getFirst("X-Node"));
        sleep(Long.parseLong(node[2]));
        Stream<String> children = Stream.of(node[5].split(",")).filter(child -> !child.isEmpty());
        boolean whole = node[4].equals("s")
                ? children.allMatch(child -> hopTo(plan, child))
                : children.map(child -> hopToAsync(plan, child)).toList().stream().allMatch(CompletableFuture::join);
        sleep(Long.parseLong(node[3]));
        text(exchange, whole ? 200 : 502, whole ? "ok\n" : "a child failed\n");
    }

    private static String[] node(String plan, String index) {
        return plan.split("\\|", -1)[Integer.parseInt(index)].split(";", -1);
    }

    private static URI address(String[] node) {
        return URI.create("http://127.0.0.1:" + node[0] + node[1]);
    }

    private static boolean hopTo(String plan, String index) {
        try {
            HttpURLConnection connection = (HttpURLConnection) address(node(plan, index)).toURL().openConnection();
            connection.setRequestProperty("X-Plan", plan);
            connection.setRequestProperty("X-Node", index);
            try (InputStream in = connection.getInputStream()) {
                in.readAllBytes();
            }
            return connection.getResponseCode() == 200;
        } catch (IOException failure) {
            return false;
        }
    }

    private static CompletableFuture<Boolean> hopToAsync(String plan, String index) {
        HttpRequest request = HttpRequest.newBuilder(address(node(plan, index)))
                .header("X-Plan", plan).header("X-Node", index).build();
        return CLIENT.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())
                .handle((answer, failure) -> failure == null && answer.statusCode() == 200);
    }

    private static String burn(long ms) {
        long began = THREADS.getCurrentThreadCpuTime();
        long burned = 0;
        while (burned < ms * 1_000_000) {
            burned = THREADS.getCurrentThreadCpuTime() - began;
        }
        return "cpu_ns=" + burned + "\n";
    }

    private static void record(HttpExchange exchange, long started) throws IOException {
        if (truth != null) {
            String path = exchange.getRequestURI().toString().replace("\\", "\\\\").replace("\"", "\\\"");
            truth.write(String.format("{\"path\":\"%s\",\"pid\":%d,\"started_ns\":%d,\"ended_ns\":%d}\n", path,
                    ProcessHandle.current().pid(), started, System.nanoTime()).getBytes(StandardCharsets.UTF_8));
        }
    }
}
