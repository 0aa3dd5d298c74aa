// Bytes as ZooKeeper's archive reads them as a string: prints proto/vectors/texts-3.9.5.txt.
//
//   java -cp "$HOME/.cache/ringkeeper/zookeeper-3.9.5/*" tests/reference/JavaTexts.java > proto/vectors/texts-3.9.5.txt
//
// A number as argument asks for so many random cases in place of 150. The format is that of proto/vectors/README.md.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.util.HexFormat;
import java.util.Random;
import org.apache.jute.BinaryInputArchive;

public class JavaTexts {
    /** On both sides of every bound of UTF-8. */
    static final int[] BYTES = {
        0x00, 'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xed, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff,
    };

    static final String[] CASES = {
        "edaf80edb080", "eda0bdedb880", "eda0", "eda041", "ed", "ed9fbf", "f09f9880", "f09f98", "f09f9841", "f48fbfbf", "f4908080", "f0808080", "e08080", "e0a080", "c080",
        "e282", "e2", "f888808080", "ff", "80", "efbfbd", "c3b6ff",
    };

    static void show(PrintStream out, String name, byte[] bytes) throws IOException {
        ByteArrayOutputStream wire = new ByteArrayOutputStream();
        DataOutputStream data = new DataOutputStream(wire);
        data.writeInt(bytes.length);
        data.write(bytes);
        String read = BinaryInputArchive.getArchive(new ByteArrayInputStream(wire.toByteArray())).readString("text");
        StringBuilder json = new StringBuilder();
        for (char unit : read.toCharArray()) {
            json.append(unit == 'a' ? "a" : String.format("\\u%04x", (int) unit));
        }
        out.println("# = {\"text\": \"" + json + "\"}");
        out.println("text " + name + " 0 " + HexFormat.of().formatHex(bytes));
        out.println();
    }

    public static void main(String[] arguments) throws IOException {
        PrintStream out = System.out;
        out.println("# Bytes, most of them no UTF-8, and what the archive of 3.9.5 reads as a string.");
        out.println("# Printed by tests/reference/JavaTexts.java with the classes of Apache ZooKeeper 3.9.5. Format: README.md. Do not edit.");
        out.println();
        for (String bytes : CASES) {
            show(out, bytes, HexFormat.of().parseHex(bytes));
        }
        Random random = new Random(5);
        int cases = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 150;
        for (int i = 1; i <= cases; i++) {
            byte[] bytes = new byte[1 + random.nextInt(8)];
            for (int at = 0; at < bytes.length; at++) {
                bytes[at] = (byte) BYTES[random.nextInt(BYTES.length)];
            }
            show(out, "random." + i, bytes);
        }
    }
}
