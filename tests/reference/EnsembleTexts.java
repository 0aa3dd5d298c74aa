// What the real ZooKeeper makes of an ensemble's text: prints zab/tests/vectors/ensemble-3.9.5.txt.
//
//   java -cp "$HOME/.cache/ringkeeper/zookeeper-3.9.5/*" tests/reference/EnsembleTexts.java > zab/tests/vectors/ensemble-3.9.5.txt
//
// A number as argument asks for so many random cases in place of 24. A case is the text that is read (`> `), what it is printed as (`< `), and which sets of the
// voters are quorums (`quorums VOTERS TABLE`: the hexadecimal digits are the bits, the first digit that of the sets 0 to 3, a set's lowest bit being the lowest
// voter); or, where ZooKeeper refuses it, `! ` and why.

import java.io.PrintStream;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;
import org.apache.zookeeper.server.quorum.flexible.QuorumVerifier;

public class EnsembleTexts {
    static final int VOTERS_MAX_FOR_TABLE = 9;

    static final String[] CASES = {
        // Majorities.
        "server.1=zk1:2888:3888",
        "server.1=zk1:2888:3888\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888:participant\nversion=100000000",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2\nserver.5=e:1:2:observer\nversion=7fffffffffffffff",
        "server.3=c:1:2\nserver.2=b:1:2\nserver.1=a:1:2\nserver.0=d:1:2\nserver.5=e:1:2\nversion=+1F",
        // Client addresses.
        "server.1=zk1:2888:3888;2181\nserver.2=zk2:2888:3888:observer;zk2:2181\nserver.3=Zk3.Example.COM:2888:3888;\nserver.4=z-4:1:2;127.0.0.1:2181",
        "server.1=zk1:2888:3888:PARTICIPANT;2181\nserver.2=zk_2:2888:3888:Observer;0.0.0.0:2181\nserver.3=c:1:2;[::]:2181",
        // IPv6.
        "server.1=[::1]:2888:3888\nserver.2=[2001:DB8::0a:1]:2888:3888;[fe80::1]:2181\nserver.3=[::ffff:10.0.0.3]:2888:3888",
        "server.1=[fe80::1%2]:2888:3888\nserver.2=[zk2]:2888:3888\nserver.3=[::1.2.3.4]:2888:3888;[10.0.0.1]:2181",
        // Several addresses.
        "server.1=zk1:2888:3888|zk0:2889:3889\nserver.2=b:1:2|a:3:4|[::1]:5:6:observer|10.0.0.1:7:8;2181\nserver.3=Z:1:2|a:1:2|_:3:4",
        "server.1=a:1:2|a:1:2\nserver.2=b:1:2:participant|c:1:2:participant",
        // Ids that do not stand in order.
        "server.10=a:1:2\nserver.20=b:1:2\nserver.30=c:1:2\nversion=0",
        "server.1=a:1:2\nserver.17=b:1:2\nserver.33=c:1:2\nserver.49=d:1:2\nserver.65=e:1:2",
        "server.16=a:1:2\nserver.32=b:1:2\nserver.48=c:1:2\nserver.64=d:1:2\nserver.80=e:1:2\nserver.96=f:1:2\nserver.112=g:1:2\nserver.128=h:1:2\nserver.144=i:1:2\nserver.160=j:1:2",
        "server.4294967296=a:1:2\nserver.2=b:1:2\nserver.9223372036854775806=c:1:2",
        // Groups and weights.
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\ngroup.1=1:2:3\nversion=5",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2\nserver.5=e:1:2\nserver.6=f:1:2\nserver.7=g:1:2\nserver.8=h:1:2\nserver.9=i:1:2\n"
            + "group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2\ngroup.1=1:2\ngroup.2=3:4\nweight.1=3\nweight.4=0",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2\ngroup.1=1:2\ngroup.2=3:4\nweight.1=0\nweight.2=0",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2\nserver.5=e:1:2\ngroup.1=1:2:3\ngroup.2=4\ngroup.3=5\nweight.4=0\nweight.5=0\nweight.3=4294967295",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1\ngroup.2=2\nweight.1=0\nweight.2=0",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\ngroup.1=1:2",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\ngroup.1=1:2:3\nweight.3=1",
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\ngroup.1=1:2:3\nweight.3=2",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2:9\nweight.9=1",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.-1=1\ngroup.20=2\nweight.7=3",
        "server.10=a:1:2\nserver.20=b:1:2\nserver.30=c:1:2\ngroup.40=20:10\ngroup.17=30\nweight.30=2",
        // What is refused.
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\ngroup.1=1:2:3",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2:9",
        "server.1=a:1:2\nserver.2=b:1:2\nweight.1=1",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2\ngroup.2=1",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:x",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2\nweight.1=x",
        "server.1=a:1:2\nserver.2=b:1:2\nclientPort=2181",
        "server.1=a:1:2\nserver.x=b:1:2",
        "server.1=a:1:2\nserver.2=b:1:2\nversion=g",
        "server.1=a:1:2\nserver.2=b:1:2\nversion=8000000000000000",
        "server.1=a:1:1",
        "server.1=a:1",
        "server.1=a:1:2:3",
        "server.1=a:1:2:witness",
        "server.1=a:1:65536",
        "server.1=a:1:2;3;4",
        "server.1=a:1:2:observer|b:1:2:participant",
        "server.1=[::1:2:3",
        "server.1=a:1:2:observer",
    };

    static void show(PrintStream out, String text) {
        out.println("case");
        for (String line : text.split("\n")) {
            out.println("> " + line);
        }
        QuorumVerifier verifier;
        try {
            Properties properties = new Properties();
            properties.load(new StringReader(text));
            verifier = QuorumPeerConfig.parseDynamicConfig(properties, 3, false, false, null);
        } catch (Exception error) {
            out.println("! " + error.getClass().getSimpleName() + ": " + String.valueOf(error.getMessage()).replace('\n', ' '));
            out.println();
            return;
        }
        for (String line : verifier.toString().split("\n")) {
            out.println("< " + line);
        }
        List<Long> voters = new ArrayList<>(new TreeSet<>(verifier.getVotingMembers().keySet()));
        if (voters.size() <= VOTERS_MAX_FOR_TABLE) {
            out.println("quorums " + voters.size() + " " + table(verifier, voters));
        }
        out.println();
    }

    static String table(QuorumVerifier verifier, List<Long> voters) {
        StringBuilder digits = new StringBuilder();
        int digit = 0;
        int sets = 1 << voters.size();
        for (int set = 0; set < Math.max(sets, 4); set++) {
            Set<Long> servers = new HashSet<>();
            for (int voter = 0; voter < voters.size(); voter++) {
                if ((set >> voter & 1) == 1) {
                    servers.add(voters.get(voter));
                }
            }
            if (set < sets && verifier.containsQuorum(servers)) {
                digit |= 1 << set % 4;
            }
            if (set % 4 == 3) {
                digits.append(Integer.toHexString(digit));
                digit = 0;
            }
        }
        return digits.toString();
    }

    /** A whole text as ZooKeeper prints it, its lines by id: ids as operators choose them, and worse, since the order of Java's hash tables shows. */
    static String random(Random random) {
        int count = 1 + random.nextInt(random.nextInt(4) == 0 ? 60 : 12);
        int step = 1 << random.nextInt(5);
        TreeMap<Long, String> members = new TreeMap<>();
        while (members.size() < count) {
            long id = random.nextInt(3) > 0 ? 1 + random.nextInt(255) : Math.min(255, (long) step * (1 + random.nextInt(255 / step)));
            members.put(id, "a:1:2" + (members.size() > 1 && random.nextInt(8) == 0 ? ":observer" : ""));
        }
        StringBuilder text = new StringBuilder();
        members.forEach((id, member) -> text.append("server." + id + "=" + member + "\n"));
        if (random.nextInt(2) == 0) {
            return text + "version=" + Long.toHexString(random.nextLong() >>> 1);
        }
        int groups = 1 + random.nextInt(5);
        TreeMap<Long, String> lines = new TreeMap<>();
        TreeMap<Long, Long> weights = new TreeMap<>();
        members.forEach((id, member) -> {
            boolean observes = member.endsWith("observer");
            if (!observes || random.nextInt(2) == 0) {
                long group = random.nextInt(groups) * 8L;
                lines.merge(group, String.valueOf(id), (a, b) -> a + ":" + b);
                weights.put(id, (long) random.nextInt(4)); // As ZooKeeper prints it: all of them.
            }
        });
        lines.forEach((id, line) -> text.append("group." + id + "=" + line + "\n"));
        weights.forEach((id, weight) -> text.append("weight." + id + "=" + weight + "\n"));
        return text + "version=" + Long.toHexString(random.nextLong() >>> 1);
    }

    public static void main(String[] arguments) {
        System.setProperty("jdk.net.hosts.file", "/dev/null"); // No name is looked up.
        System.setProperty("org.apache.logging.log4j.level", "OFF");
        System.setProperty("zookeeper.multiAddress.enabled", "true");
        QuorumPeerConfig.setStandaloneEnabled(false); // One voter is an ensemble.
        PrintStream out = System.out;
        out.println("# What Apache ZooKeeper 3.9.5 makes of ensembles' texts, by tests/reference/EnsembleTexts.java, which says the format. Do not edit.");
        out.println();
        for (String text : CASES) {
            show(out, text);
        }
        Random random = new Random(5);
        int cases = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 24;
        for (int i = 0; i < cases; i++) {
            show(out, random(random));
        }
    }
}
