// The test function in Java (Tomcat, embedded). Contract: ../CONTRACT.md.

import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.Collections;
import java.util.concurrent.CompletableFuture;
import java.util.logging.LogManager;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

public final class Function extends HttpServlet {
    private static final String NEXT = System.getenv().getOrDefault("NEXT", "");
    private static final byte[] BUFFER = new byte[65536];
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();
    private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static FileOutputStream truth;

    public static void main(String[] arguments) throws Exception {
        LogManager.getLogManager().reset();
        Arrays.fill(BUFFER, (byte) 'x');
        if (System.getenv("TRUTH") != null) {
            truth = new FileOutputStream(System.getenv("TRUTH"), true);
        }
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("tomcat").toString());
        tomcat.setHostname(System.getenv().getOrDefault("HOST", "127.0.0.1"));
        tomcat.setPort(Integer.parseInt(System.getenv().getOrDefault("PORT", "0")));
        tomcat.getConnector().setProperty("address", System.getenv().getOrDefault("HOST", "127.0.0.1"));
        tomcat.getConnector().setProperty("maxKeepAliveRequests", "-1");
        Context context = tomcat.addContext("", null);
        Tomcat.addServlet(context, "function", new Function());
        context.addServletMappingDecoded("/*", "function");
        tomcat.start();
        System.out.println("listening " + tomcat.getConnector().getLocalPort());
        tomcat.getServer().await();
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws ServletException, IOException {
        long started = System.nanoTime();
        try {
            answer(request, response);
            response.flushBuffer();
        } finally {
            record(request, started);
        }
    }

    private static void answer(HttpServletRequest request, HttpServletResponse response) throws ServletException, IOException {
        response.setContentType("text/plain");
        String route = request.getRequestURI().replaceFirst("^/t/[^/]*/", "/").replaceFirst("^/hop/.*", "/hop");
        switch (route) {
            case "/hello" -> text(response, 200, "hello from tomcat\n");
            case "/delay" -> {
                sleep(number(request, "ms"));
                text(response, 200, "delayed " + number(request, "ms") + "\n");
            }
            case "/stream" -> stream(request, response);
            case "/big" -> big(response, number(request, "bytes"));
            case "/upload" -> {
                long bytes = discard(request.getInputStream());
                sleep(number(request, "delay"));
                text(response, 200, "bytes=" + bytes + "\n");
            }
            case "/error" -> {
                int status = (int) number(request, "status");
                text(response, status, status == 204 || status == 304 ? "" : "status " + status + "\n");
            }
            case "/abort" -> abort(response);
            case "/chain" -> chain(response, request.getParameter("path"));
            case "/fan" -> text(response, 200, fan((int) number(request, "n"), request.getParameter("path")));
            case "/hop" -> hop(request, response);
            case "/burn" -> text(response, 200, burn(number(request, "ms")));
            case "/echo-headers" -> text(response, 200, Collections.list(request.getHeaderNames()).stream()
                    .map(name -> name + ": " + request.getHeader(name) + "\n").collect(Collectors.joining()));
            default -> text(response, 404, "not found\n");
        }
    }

    private static long number(HttpServletRequest request, String parameter) {
        String value = request.getParameter(parameter);
        return value == null ? 0 : Long.parseLong(value);
    }

    private static void sleep(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }

    private static void text(HttpServletResponse response, int status, String body) throws IOException {
        bytes(response, status, body.getBytes(StandardCharsets.UTF_8));
    }

    private static void bytes(HttpServletResponse response, int status, byte[] body) throws IOException {
        response.setStatus(status);
        response.setContentLengthLong(body.length);
        response.getOutputStream().write(body);
    }

    private static void stream(HttpServletRequest request, HttpServletResponse response) throws IOException {
        boolean sse = number(request, "sse") != 0;
        response.setContentType(sse ? "text/event-stream" : "text/plain");
        for (long i = 1; i <= number(request, "n"); i++) {
            if (i > 1) {
                sleep(number(request, "ms"));
            }
            String piece = sse ? "data: piece " + i + "\n\n" : "piece " + i + "\n";
            response.getOutputStream().write(piece.getBytes(StandardCharsets.UTF_8));
            response.flushBuffer();
        }
    }

    private static void big(HttpServletResponse response, long bytes) throws IOException {
        response.setContentLengthLong(bytes);
        for (long left = bytes; left > 0; left -= Math.min(left, BUFFER.length)) {
            response.getOutputStream().write(BUFFER, 0, (int) Math.min(left, BUFFER.length));
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

    /** A servlet that fails after its answer began: Tomcat closes the connection. */
    private static void abort(HttpServletResponse response) throws ServletException, IOException {
        response.setContentLengthLong(1000);
        response.getOutputStream().write(BUFFER, 0, 100);
        response.flushBuffer();
        throw new ServletException("aborted");
    }

    private static void chain(HttpServletResponse response, String path) throws IOException {
        try {
            HttpResponse<byte[]> answer = send(HttpRequest.newBuilder(URI.create(NEXT + path)).build());
            bytes(response, answer.statusCode(), answer.body());
        } catch (IOException failure) {
            text(response, 502, failure + "\n");
        }
    }

    private static String fan(int n, String path) {
        HttpRequest request = HttpRequest.newBuilder(URI.create(NEXT + path)).build();
        return Stream.generate(() -> status(request)).limit(n).toList().stream()
                .map(call -> call.join().toString()).collect(Collectors.joining(",", "fan ", "\n"));
    }

    /** Follows a plan's node. */
    private static void hop(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String[] nodes = request.getHeader("X-Plan").split("\\|", -1);
        String[] node = nodes[Integer.parseInt(request.getHeader("X-Node"))].split(";", -1);
        sleep(Long.parseLong(node[2]));
        Stream<HttpRequest> children = Stream.of(node[5].split(",")).filter(child -> !child.isEmpty())
                .map(child -> visit(nodes[Integer.parseInt(child)], request.getHeader("X-Plan"), child));
        boolean whole = node[4].equals("s")
                ? children.allMatch(child -> succeeds(child))
                : children.map(child -> status(child)).toList().stream().allMatch(call -> call.join() == 200);
        sleep(Long.parseLong(node[3]));
        text(response, whole ? 200 : 502, whole ? "ok\n" : "a child failed\n");
    }

    private static HttpRequest visit(String child, String plan, String index) {
        String[] node = child.split(";", -1);
        return HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + node[0] + node[1]))
                .header("X-Plan", plan).header("X-Node", index).build();
    }

    private static boolean succeeds(HttpRequest request) {
        try {
            return send(request).statusCode() == 200;
        } catch (IOException failure) {
            return false;
        }
    }

    private static HttpResponse<byte[]> send(HttpRequest request) throws IOException {
        try {
            return CLIENT.send(request, HttpResponse.BodyHandlers.ofByteArray());
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }

    private static CompletableFuture<Integer> status(HttpRequest request) {
        return CLIENT.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())
                .handle((answer, failure) -> failure == null ? answer.statusCode() : 502);
    }

    private static String burn(long ms) {
        long began = THREADS.getCurrentThreadCpuTime();
        long burned = 0;
        while (burned < ms * 1_000_000) {
            burned = THREADS.getCurrentThreadCpuTime() - began;
        }
        return "cpu_ns=" + burned + "\n";
    }

    private static void record(HttpServletRequest request, long started) throws IOException {
        if (truth == null) {
            return;
        }
        String query = request.getQueryString() == null ? "" : "?" + request.getQueryString();
        String line = "{\"path\":\"%s\",\"pid\":%d,\"started_ns\":%d,\"ended_ns\":%d}\n".formatted(
                request.getRequestURI() + query, ProcessHandle.current().pid(), started, System.nanoTime());
        truth.write(line.getBytes(StandardCharsets.UTF_8));
    }
}
