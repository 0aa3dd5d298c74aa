package clients;

import static clients.Suite.expect;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.invoke.MethodType;
import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.spi.ToolProvider;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Transaction;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;

/**
 * Which check makes which call of the client's public API.
 *
 * <p>Nobody keeps this table: its rows are what reflection finds public in the library's classes, and its entries what {@code javap}
 * finds called in this suite's own classes. So a method that a newer library adds, or a check that is taken away, shows at once.
 */
final class ApiTable {
    private static final List<Class<?>> API =
            List.of(ZooKeeper.class, ZooKeeperAdmin.class, Transaction.class, Op.class, ZKUtil.class);

    /** What no server takes part in: how the library encodes, and helpers for text. */
    private static final Set<String> LEFT_OUT =
            Set.of("Op.toRequestRecord", "ZKUtil.new", "ZKUtil.aclToString", "ZKUtil.getPermString", "ZKUtil.validateFileInput");

    private static final Pattern HEADER = Pattern.compile("^  \\S.* (\\S+)\\(.*;$");
    private static final Pattern CALL = Pattern.compile("// (?:Interface)?Method (\\S+)\\.\"?([\\w<>$]+)\"?:(\\(\\S*)");

    private ApiTable() {}

    static void register(Suite suite) {
        suite.add("api_table_is_complete", context -> expect(List.of(), missing(), "calls that no check makes"));
    }

    /** Prints a line for each method: its name and parameters, and the methods of this suite that call it. */
    static void print() throws IOException {
        table().forEach((call, callers) -> System.out.println(call + "  " + (callers.isEmpty() ? "MISSING" : String.join(", ", callers))));
    }

    private static List<String> missing() throws IOException {
        return table().entrySet().stream().filter(row -> row.getValue().isEmpty()).map(Map.Entry::getKey).toList();
    }

    private static Map<String, Set<String>> table() throws IOException {
        Map<String, Set<String>> callers = callers();
        Map<String, Set<String>> table = new TreeMap<>();
        for (Class<?> owner : API) {
            Stream<Executable> all = Stream.concat(Arrays.stream(owner.getDeclaredConstructors()), Arrays.stream(owner.getDeclaredMethods()));
            all.filter(one -> Modifier.isPublic(one.getModifiers()) && !one.isSynthetic()).forEach(one -> {
                Set<String> found = new TreeSet<>();
                API.stream().filter(owner::isAssignableFrom) // a call through a subclass is a call
                        .forEach(type -> found.addAll(callers.getOrDefault(key(type, one), Set.of())));
                String name = owner.getSimpleName() + "." + (one instanceof Constructor ? "new" : one.getName());
                if (!LEFT_OUT.contains(name)) {
                    table.put(name + parameters(one), found);
                }
            });
        }
        return table;
    }

    private static String parameters(Executable one) {
        return Arrays.stream(one.getParameterTypes()).map(Class::getSimpleName).collect(Collectors.joining(", ", "(", ")"));
    }

    /** As {@code javap} writes a call: the class, the name, the descriptor. */
    private static String key(Class<?> owner, Executable one) {
        Class<?> result = one instanceof Method method ? method.getReturnType() : void.class;
        String name = one instanceof Constructor ? "<init>" : one.getName();
        return owner.getName().replace('.', '/') + "." + name
                + MethodType.methodType(result, one.getParameterTypes()).toMethodDescriptorString();
    }

    /** For each call in this suite's classes the methods that make it; a lambda counts for the method that it stands in. */
    private static Map<String, Set<String>> callers() throws IOException {
        Map<String, Set<String>> callers = new TreeMap<>();
        String type = "";
        String method = "";
        for (String line : disassembled().split("\n")) {
            Matcher header = HEADER.matcher(line);
            Matcher call = CALL.matcher(line);
            if (line.startsWith("Compiled from")) {
                type = line.replaceAll("^.*\"(\\w+)\\.java\"$", "$1");
            } else if (header.matches()) {
                method = header.group(1).replaceAll("^lambda\\$(\\w+)\\$\\d+$", "$1");
            } else if (call.find()) {
                callers.computeIfAbsent(call.group(1) + "." + call.group(2) + call.group(3), key -> new TreeSet<>())
                        .add(type + "." + method);
            }
        }
        return callers;
    }

    private static String disassembled() throws IOException {
        List<String> arguments = new ArrayList<>(List.of("-c", "-p"));
        Path classes = Path.of(ApiTable.class.getProtectionDomain().getCodeSource().getLocation().getPath());
        try (Stream<Path> files = Files.walk(classes)) {
            files.map(Path::toString).filter(name -> name.endsWith(".class")).sorted().forEach(arguments::add);
        }
        StringWriter out = new StringWriter();
        PrintWriter writer = new PrintWriter(out);
        int code = ToolProvider.findFirst("javap").orElseThrow().run(writer, writer, arguments.toArray(String[]::new));
        expect(0, code, "exit code of javap");
        return out.toString();
    }
}
